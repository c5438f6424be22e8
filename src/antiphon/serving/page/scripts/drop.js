// A field to drop files on, or to choose them.
import { element, icon } from "./dom.js";

// `take(file)` is called for each file; `title` is a key, `kinds` a node.
export function dropZone({ id, accept, title, kinds, take }) {
	const field = element("input", { type: "file", id, multiple: true, accept, class: "hidden-field" });
	const zone = element("label", { class: "drop", for: id }, icon("upload"), element("strong", { t: title }), kinds);
	const over = (on) => (event) => {
		if (on || event.type === "drop") event.preventDefault();
		zone.classList.toggle("over", on);
	};
	field.addEventListener("change", () => {
		for (const file of field.files) take(file);
		field.value = "";
	});
	for (const name of ["dragenter", "dragover"]) zone.addEventListener(name, over(true));
	for (const name of ["dragleave", "drop"]) zone.addEventListener(name, over(false));
	zone.addEventListener("drop", ({ dataTransfer }) => {
		for (const file of dataTransfer.files) take(file);
	});
	return [field, zone];
}
