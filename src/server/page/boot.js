// Behind the platform's proxy the page lies below a prefix, with or without a slash at its end. Relative imports need the
// slash, so the modules are loaded from where the page really is.
const base = new URL(location.pathname.replace(/\/*$/, "/"), location.origin);
import(new URL("page/main.js", base));
