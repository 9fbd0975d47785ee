// A page with the components of the guide.

import { StrictMode, useState } from "react";
import { createRoot } from "react-dom/client";
import { ProfileClient } from "persona-profile-client";
import type { Choice } from "persona-profile-client/card";
import { Cards, ChosenCard } from "./cards";

const server = location.hash.slice(1);
const emails = ["alice@example.com", "bob@example.org"];
const client = new ProfileClient({ origin: server });

async function prove(email: string): Promise<string> {
  const headers = { "Content-Type": "application/json" };
  const request = { method: "POST", headers, body: JSON.stringify({ email }) };
  const answer = await fetch(`${server}/development/assertions`, request);
  return (await answer.json()).assertion;
}

function Page() {
  const [choice, setChoice] = useState<Choice | null>(null);
  return choice ? (
    <main id="chosen">
      <ChosenCard choice={choice} onAgain={() => setChoice(null)} />
    </main>
  ) : (
    <Cards client={client} emails={emails} onChoose={setChoice} />
  );
}

createRoot(document.getElementById("root")!).render(
  <StrictMode>
    <Page />
  </StrictMode>,
);
client.signIn(await Promise.all(emails.map(prove)));
