"""The browser as an object: starts driver.mjs and tells it what to do."""

import json
import os
import pathlib
import subprocess

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parent.parent
MODULES = pathlib.Path(os.environ.get("CLOUDGATE_BROWSER_MODULES", ROOT / "build/browser"))


class Browser:
    def __init__(self, log):
        environment = {**os.environ, "CLOUDGATE_BROWSER_MODULES": str(MODULES)}
        self.log = open(log, "wb")
        self.process = subprocess.Popen(
            ["node", HERE / "driver.mjs"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self.log, text=True, env=environment)  # fmt: skip
        self.count, self.pages = 0, []

    def tell(self, command, **arguments):
        self.process.stdin.write(json.dumps({"command": command, **arguments}) + "\n")
        self.process.stdin.flush()
        line = self.process.stdout.readline()
        assert line, pathlib.Path(self.log.name).read_text(errors="replace")
        answer = json.loads(line)
        assert "error" not in answer, answer["error"]
        return answer["result"]

    def open(self, url, **options):
        self.count += 1
        page = Page(self, f"page-{self.count}")
        self.pages.append(page)
        page.tell("open", url=url, **options)
        return page

    def close_pages(self):
        while self.pages:
            self.pages.pop().tell("close")

    def close(self):
        self.process.stdin.close()
        try:
            self.process.wait(20)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.log.close()


class Page:
    """One page in a browser of its own. click and fill take role= and name=, as a screen reader hears them, or selector=."""

    def __init__(self, browser, name):
        self.browser, self.name = browser, name

    def tell(self, command, **arguments):
        return self.browser.tell(command, page=self.name, **arguments)

    def button(self, name):
        self.tell("click", role="button", name=name)

    def fill(self, selector, value):
        self.tell("fill", selector=selector, value=value)

    def wait(self, selector, text="", timeout_ms=None):
        self.tell("wait", selector=selector, text=text, timeout_ms=timeout_ms)

    def text(self, selector):
        return self.tell("text", selector=selector)

    def log_in(self, token):
        self.fill("#token", token)
        self.button("Log in")
        self.wait("#connection", "Live")
        self.wait("#phase-line li.here")

    def is_at(self, phase):
        self.wait(f'#phase-line li.here[data-phase="{phase}"]')

    def check(self, refused=()):
        """No script error, no report of the policy, no request beyond this machine, and no refused request but these."""
        heard = self.tell("heard")
        unexpected = [line for line in heard["refused"] if line not in refused]
        assert not heard["errors"] and not heard["violations"] and not unexpected, (heard["errors"], heard["violations"], unexpected)
        assert all(url.startswith(("http://127.", "https://127.", "data:")) for url in heard["requests"]), heard["requests"]

    def check_accessible(self):
        found = self.tell("axe")
        assert not found, "\n".join(found)
