// The login page: a plain form that remembers the name.

import { find, recall, remember } from "./page.js";

find("name").value = recall("name").slice(0, find("name").maxLength);
find("name").focus();
find("login").addEventListener("submit", () => remember("name", find("name").value));
