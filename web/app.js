// The dashboard: each module draws its part of the page whenever the model it looks at changes.
import "./audit.js";
import "./banners.js";
import "./fleet.js";
import "./phase.js";
import "./settings.js";
import { begin as beginPlots } from "./plots.js";
import { begin } from "./session.js";

beginPlots();
begin();
