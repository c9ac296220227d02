// What a screen reader could not name, and what is too pale to read: of everything that is on the page now.
() => {
  const pen = document.createElement("canvas").getContext("2d", { willReadFrequently: true });

  function rgba(color) {
    pen.clearRect(0, 0, 1, 1);
    pen.fillStyle = color;
    pen.fillRect(0, 0, 1, 1);
    return [...pen.getImageData(0, 0, 1, 1).data];
  }

  function luminance(color) {
    const parts = rgba(color).map((part) => part / 255);
    const [r, g, b] = parts.map((part) => (part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4));
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  }

  function ground(element) {
    const color = element ? getComputedStyle(element).backgroundColor : "white";
    return rgba(color)[3] === 255 ? color : ground(element.parentElement);
  }

  function contrast(element) {
    const both = [getComputedStyle(element).color, ground(element)].map(luminance).sort((a, b) => a - b);
    return (both[1] + 0.05) / (both[0] + 0.05);
  }

  const hasText = (element) => [...element.childNodes].some((node) => node.nodeType === Node.TEXT_NODE && node.data.trim());
  const isNamed = (element) => element.labels?.length || element.ariaLabel || element.textContent.trim();
  const visible = (selector) => [...document.querySelectorAll(selector)].filter((element) => element.checkVisibility());

  const controls = visible("button, a, input, select, textarea, audio, [role=meter]");
  const texts = visible("body *").filter((element) => hasText(element) && !element.closest(":disabled, .unseen, .skip, svg"));
  return {
    nameless: controls.filter((one) => !one.closest("[aria-hidden=true]") && !isNamed(one)).map((one) => one.outerHTML),
    // WCAG 2.2 AA asks for 4.5 where text is small.
    pale: texts.filter((one) => contrast(one) < 4.5).map((one) => `${one.textContent} ${contrast(one).toFixed(2)}`),
  };
}
