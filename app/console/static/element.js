// Makes elements. Text is only ever set as text, so nothing that a model or a server says becomes markup.

const SVG = "http://www.w3.org/2000/svg";

/** An element: `attributes` are attributes, `onclick` and the like are listeners, false and null leave one out. */
export function h(tag, attributes = {}, ...children) {
  return filled(document.createElement(tag), attributes, children);
}

/** The same of a drawing. */
export function s(tag, attributes = {}, ...children) {
  return filled(document.createElementNS(SVG, tag), attributes, children);
}

function filled(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (typeof value === "function") element.addEventListener(name.slice(2), value);
    else if (name === "value") element.value = value;
    else if (value !== false && value !== null && value !== undefined) {
      element.setAttribute(name, value === true ? "" : value);
    }
  }
  element.append(...children.flat().filter((child) => child !== null && child !== undefined && child !== false));
  return element;
}

/** Tells people who do not see the page what has happened. */
export function announce(text) {
  document.getElementById("announcer").textContent = text;
}
