// @ts-nocheck - without React's types there is no module to add to, and this file declares nothing.

import type { HTMLAttributes, DetailedHTMLProps } from "react";
import type { PersonaCard, PersonaCardAttributes } from "./persona-card.js";

declare module "react" {
  namespace JSX {
    interface IntrinsicElements {
      "persona-card": DetailedHTMLProps<HTMLAttributes<PersonaCard>, PersonaCard> &
        PersonaCardAttributes;
    }
  }
}
