// A browser that does what it is told: one JSON object a line on stdin, one answer a line on stdout. The plays are in Python, beside
// the programs they start; only this file knows the browser.
import { createRequire } from "node:module";
import { createInterface } from "node:readline";

const require = createRequire(`${process.env.CLOUDGATE_BROWSER_MODULES}/`);
const { chromium } = require("playwright-core");
const axe = require("axe-core");
const WAIT_MS = Number(process.env.CLOUDGATE_BROWSER_WAIT_MS ?? 15000);

const browser = await chromium.launch({
  executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium",
  args: ["--disable-gpu", "--disable-dev-shm-usage", ...(process.getuid() === 0 ? ["--no-sandbox"] : [])],
});
const pages = new Map();

const at = ({ role, name, selector }, page) => role ? page.getByRole(role, { name, exact: false }).first() : page.locator(selector).first();

const commands = {
  // Each page is a browser of its own: cookies are not shared.
  // ahead_ms: by so much the clock of that browser is ahead.
  async open({ page: name, url, width, height, dark, ahead_ms }) {
    const context = await browser.newContext({
      viewport: { width: width ?? 1280, height: height ?? 900 }, colorScheme: dark ? "dark" : "light", reducedMotion: "reduce",
      ignoreHTTPSErrors: true });
    context.setDefaultTimeout(WAIT_MS);
    await context.addInitScript({ content: axe.source });
    await context.addInitScript(() => {
      window.violations = [];
      window.alerts = []; // whatever stood in the banners, however shortly
      document.addEventListener("DOMContentLoaded", () => {
        const banners = document.getElementById("banners");
        new MutationObserver(() => window.alerts.push(banners.textContent)).observe(banners, { childList: true });
      });
      document.addEventListener("securitypolicyviolation", (event) =>
        window.violations.push(`${event.effectiveDirective} ${event.blockedURI} ${event.sourceFile}:${event.lineNumber}`));
    });
    if (ahead_ms) await context.addInitScript((ms) => { const real = Date.now; Date.now = () => real() + ms; }, ahead_ms);
    const page = await context.newPage();
    const heard = { errors: [], refused: [], requests: [] };
    page.on("console", (message) => {
      // Answers such as 401 are told apart below, by address.
      if (message.type() === "error" && !message.text().startsWith("Failed to load resource")) heard.errors.push(message.text());
    });
    page.on("pageerror", (error) => heard.errors.push(String(error)));
    page.on("request", (request) => heard.requests.push(request.url()));
    page.on("response", (response) => {
      if (response.status() >= 400) heard.refused.push(`${response.status()} ${response.request().method()} ${new URL(response.url()).pathname}`);
    });
    pages.set(name, { page, heard });
    await page.goto(url);
  },
  reload: (_, { page }) => page.reload().then(() => null),
  click: (target, { page }) => at(target, page).click(),
  fill: ({ value, ...target }, { page }) => at(target, page).fill(value),
  type: ({ value }, { page }) => page.keyboard.type(value),
  press: ({ key }, { page }) => page.keyboard.press(key),
  focused: (_, { page }) => page.evaluate(() => document.activeElement === document.body ? "" :
    document.activeElement.getAttribute("aria-label") || document.activeElement.id || document.activeElement.textContent.trim()),
  attribute: ({ selector, name }, { page }) => page.locator(selector).first().getAttribute(name),
  text: ({ selector }, { page }) => page.locator(selector).first().innerText(),
  enabled: (target, { page }) => at(target, page).isEnabled(),
  visible: (target, { page }) => at(target, page).isVisible(),
  tick: (target, { page }) => at(target, page).check(),
  wait: ({ selector, text, timeout_ms }, { page }) => page.locator(selector).filter({ hasText: new RegExp(text, "s") }).first()
    .waitFor({ timeout: timeout_ms ?? WAIT_MS }).then(() => null),
  gone: ({ selector }, { page }) => page.locator(selector).first().waitFor({ state: "hidden" }).then(() => null),
  // Rows of a table, each with the texts of its cells.
  table: ({ selector }, { page }) => page.locator(selector).first().evaluate((table) =>
    [...table.rows].map((row) => [...row.cells].map((cell) => cell.textContent.trim()))),
  count: ({ selector }, { page }) => page.locator(selector).count(),
  idle: (_, { page }) => page.waitForLoadState("networkidle").then(() => null),
  overflow: (_, { page }) => page.evaluate(() => document.documentElement.scrollWidth - document.documentElement.clientWidth),
  // What is in sight and yet cut off sideways, or covered by the edge of the screen.
  clipped: ({ selector }, { page }) => page.locator(selector).evaluateAll((elements) => elements
    .filter((element) => element.checkVisibility() && element.scrollWidth > element.clientWidth + 1)
    .map((element) => element.outerHTML.slice(0, 120))),
  in_sight: ({ selector }, { page }) => page.locator(selector).first().evaluate((element) => {
    const { top, bottom, left, right } = element.getBoundingClientRect();
    return top >= 0 && left >= 0 && bottom <= innerHeight && right <= innerWidth;
  }),
  // Whether an element that was there at mark is still the same one.
  mark: ({ selector }, { page }) => page.locator(selector).first().evaluate((element) => { window.marked = element; }),
  // How often what is in an element has been built anew since watch.
  watch: ({ selector }, { page }) => page.locator(selector).first().evaluate((element) => {
    window.drawings = 0;
    new MutationObserver(() => window.drawings++).observe(element, { childList: true });
  }),
  drawings: (_, { page }) => page.evaluate(() => window.drawings),
  stands: (_, { page }) => page.evaluate(() => window.marked.isConnected),
  // Questions to this address wait from now on; changes go through. release: they are asked.
  async hold({ path }, held) {
    held.waiting = [];
    await held.page.route(`**${path}`, (route) => route.request().method() === "GET" ? held.waiting.push(route) : route.continue());
  },
  async release({ path }, { page, waiting }) {
    await page.unroute(`**${path}`);
    await Promise.all(waiting.map((route) => route.continue().catch(() => {}))); // some were given up
  },
  clear_cookies: (_, { page }) => page.context().clearCookies().then(() => null),
  screenshot: ({ path, full }, { page }) => page.screenshot({ path, fullPage: full ?? true }).then(() => null),
  async axe(_, { page }) {
    const { violations } = await page.evaluate(() =>
      window.axe.run(document, { runOnly: ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"] }));
    return violations.map(({ id, help, nodes }) =>
      `${id}: ${help}: ${nodes.map((node) => `${node.html.slice(0, 160)} ${node.failureSummary}`).join("; ")}`);
  },
  close: (_, { page }) => page.context().close().then(() => null),
  heard: async (_, { page, heard }) => ({ ...heard, ...await page.evaluate(() => ({ violations: window.violations, alerts: window.alerts })) }),
};

// What the page itself says, for whoever asks why a play failed.
const saying = (page) => page.evaluate(() => ["#connection", "#banners", "#notice", "#review[open]", "#log-in"]
  .map((selector) => document.querySelector(selector)).filter((element) => element?.checkVisibility())
  .map((element) => `${element.id}: ${element.innerText.replace(/\s+/g, " ")}`).join("\n"));

for await (const line of createInterface({ input: process.stdin })) {
  const { command, ...rest } = JSON.parse(line);
  let answer;
  try {
    answer = { result: await commands[command](rest, pages.get(rest.page)) ?? null };
  } catch (error) {
    const said = await saying(pages.get(rest.page).page).catch(() => "nothing");
    answer = { error: `${command} ${JSON.stringify(rest)}: ${error.message}\nThe page says:\n${said}` };
  }
  process.stdout.write(`${JSON.stringify(answer)}\n`);
}
await browser.close();
