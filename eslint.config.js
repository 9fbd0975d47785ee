// The rules for JavaScript. Names that are not defined are the business of tsc, which knows each browser's.

import js from "@eslint/js";

export default [
  js.configs.recommended,
  {
    rules: {
      "no-undef": "off",
      "no-unused-vars": ["error", { ignoreRestSiblings: true }],
      curly: "error",
      eqeqeq: "error",
      "no-misleading-character-class": "off", // persona-card-text.js names such characters
      "no-implicit-coercion": "error",
      "no-shadow": "error",
      "no-var": "error",
      "object-shorthand": "error",
      "prefer-const": "error",
      "prefer-template": "error",
    },
  },
];
