"""HTTP: the routes, the errors, the pages. The only room that knows the web framework."""
