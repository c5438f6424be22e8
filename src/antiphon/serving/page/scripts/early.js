// Runs before the first paint, so that the chosen colours do not flash.
(() => {
	try {
		const theme = JSON.parse(localStorage.getItem("antiphon.theme"));
		if (theme === "light" || theme === "dark") document.documentElement.dataset.theme = theme;
	} catch {
		// Storage may be forbidden; the browser's preference holds then.
	}
})();
