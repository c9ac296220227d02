// The API key of this tab: kept until the tab is closed, and nowhere else.

const NAME = "portico-key";

export const readKey = () => sessionStorage.getItem(NAME);
export const keepKey = (key) => sessionStorage.setItem(NAME, key);
export const forgetKey = () => sessionStorage.removeItem(NAME);
