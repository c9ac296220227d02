// Looks again every few seconds, while the view is shown and the page is in sight.

const SECONDS = 5;

/** `shown` and `hidden` of a view that `look` keeps up to date. */
export function polled(look) {
  let timer = null;
  const lookAgain = async () => {
    if (document.visibilityState === "visible") await look();
  };
  return {
    async shown() {
      timer ??= setInterval(lookAgain, SECONDS * 1000);
      await look();
    },
    hidden() {
      clearInterval(timer);
      timer = null;
    },
  };
}
