// What `tsc --strict` must reject in JSX.

import "persona-profile-client/card";

export const right = <persona-card key="a" className="card" email="a@example.com" selectable />;
// @ts-expect-error - an address is a string
export const wrongEmail = <persona-card email={1} />;
// @ts-expect-error - a choice has no such member
export const wrongDetail = <persona-card onchoose={({ detail }) => detail.nothing} />;
