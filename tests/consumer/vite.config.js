// The folder from which the tests serve the result, and its pages.
export default {
  base: "/vite/",
  build: { rollupOptions: { input: ["index.html", "react.html"] } },
};
