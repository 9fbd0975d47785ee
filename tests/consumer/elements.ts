// What `tsc --strict` must know, or must reject, without React.

import { CardDeck, type Choice, type PersonaCard } from "persona-profile-client/card";
import { ProfileClient, type Profile } from "persona-profile-client";
import { explain, type Action } from "persona-profile-client/messages";

export const made: PersonaCard = document.createElement("persona-card");
export const found: PersonaCard | null = document.querySelector("persona-card");

export const chosen: Choice[] = [];
made.addEventListener("choose", ({ detail }) => chosen.push(detail));
document.addEventListener("choose", ({ detail }) => chosen.push(detail));
document.querySelector("#cards")?.addEventListener("choose", ({ detail }) => chosen.push(detail));
// @ts-expect-error - a choice has no such member
made.addEventListener("choose", ({ detail }) => detail.nothing);
// @ts-expect-error - the state is read-only
made.state = "ready";

const client = new ProfileClient({ origin: "https://profiles.example" });
export const deck = new CardDeck({ client, container: document.body });
export const profiles: Promise<Profile[]> = client.signIn([{ id_token: "token" }]);
export const { action }: { action: Action } = explain(new Error());
