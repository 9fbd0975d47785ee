// The style of a card: a constructed sheet, which works under a policy without inline styles.

/** @type {CSSStyleSheet | undefined} */
let sheet;

/** Returns the sheet that all cards share; made by the first card, because servers import this module too. */
export function cardStyle() {
  if (!sheet) {
    sheet = new CSSStyleSheet();
    sheet.replaceSync(STYLE);
  }
  return sheet;
}

const STYLE = `
:host { display: block; min-inline-size: 0; }

/* Not of the host, where they would replace properties of the same names that the page has. */
.card {
  /* System colours follow the colour scheme in every browser; light-dark() replaces them where supported. */
  --surface: Canvas;
  --ink: CanvasText;
  --muted: color-mix(in srgb, CanvasText 70%, Canvas);
  --accent: LinkText;
  --line: color-mix(in srgb, CanvasText 16%, Canvas);
  --hover: color-mix(in srgb, CanvasText 4%, Canvas);
  --shadow: rgb(0 0 0 / 10%);

  /* Of transparent pictures: the contrast with black and with white is above 3:1. */
  --ground: #85828f;
}

@supports (color: light-dark(red, red)) {
  .card {
    --surface: light-dark(#fff, #1e1c26);
    --ink: light-dark(#1d1b26, #eeecf4);
    --muted: light-dark(#5f5b6e, #aaa6ba);
    --accent: light-dark(#5146c9, #a9a1ff);
    --line: light-dark(#dcdae4, #34313f);
    --hover: light-dark(#faf9fd, #242230);
    --shadow: light-dark(rgb(29 27 38 / 8%), rgb(0 0 0 / 30%));
  }
}

:host([hidden]) { display: none; }
*, ::before { box-sizing: border-box; }

/* The height follows from the number of lines, not from their texts: a late answer moves nothing. */
.card {
  color: var(--persona-card-ink, var(--ink));
  display: flex;
  flex-wrap: wrap;
  align-items: center;
  gap: .5rem clamp(.75rem, 4%, 1rem);
  inline-size: 100%;
  min-block-size: 44px;
  margin: 0;
  padding: .75rem clamp(.75rem, 4%, 1rem);
  overflow: clip;
  border: 1px solid var(--line);
  border-radius: var(--persona-card-radius, 16px);
  background: var(--persona-card-surface, var(--surface));
  box-shadow: 0 1px 2px var(--shadow);
  font: 1rem/1.25 system-ui, -apple-system, "Segoe UI", Roboto, "Noto Sans", "DejaVu Sans", sans-serif;
  letter-spacing: normal;
  text-align: start;
  text-transform: none;
  cursor: pointer;
  -webkit-tap-highlight-color: transparent;
}

.card:hover:enabled {
  border-color: var(--persona-card-accent, var(--accent));
  background: var(--persona-card-surface, var(--hover));
  box-shadow: 0 1px 2px var(--shadow), 0 6px 18px var(--shadow);
}

.card:active:enabled { box-shadow: none; }
.card:focus-visible { outline: 3px solid var(--persona-card-accent, var(--accent)); outline-offset: 2px; }
.card:disabled { cursor: not-allowed; }
.card:disabled :is(.portrait, .texts) { opacity: .55; }

.card[aria-pressed="true"] {
  border-color: var(--persona-card-accent, var(--accent));
  box-shadow: inset 0 0 0 1px var(--persona-card-accent, var(--accent)), 0 1px 2px var(--shadow);
}

.portrait {
  position: relative;
  flex: 0 0 min(4rem, 24%);
  display: grid;
  aspect-ratio: 1;
  container-type: inline-size;
}

.portrait > * { grid-area: 1 / 1; inline-size: 100%; block-size: 100%; min-block-size: 0; border-radius: 50%; }

.monogram {
  display: grid;
  place-items: center;
  overflow: clip;
  background: linear-gradient(135deg, oklch(52% .13 var(--hue)), oklch(42% .13 calc(var(--hue) + 45)));
  color: #fff;
  font-size: 34cqi;
  font-weight: 600;
  line-height: 1;
  white-space: nowrap;
  user-select: none;
}

/* Generated content: a screen reader would read the name twice. */
.monogram::before { content: attr(data-text); }

img {
  display: block;
  object-fit: cover;
  background: var(--persona-card-ground, var(--ground));
  forced-color-adjust: none; /* or the ground would be left out, and a dark logo be lost */
}

/* A mark shows the selection, not colour alone. */
.portrait .mark {
  position: absolute;
  inset-block-end: -3%;
  inset-inline-end: -3%;
  display: none;
  inline-size: 34%;
  block-size: 34%;
  border: 2px solid var(--persona-card-surface, var(--surface));
  background: var(--persona-card-accent, var(--accent));
}

.mark::before {
  content: "";
  position: absolute;
  inset: 16% auto auto 36%;
  inline-size: 30%;
  block-size: 52%;
  border: solid var(--persona-card-surface, var(--surface));
  border-width: 0 2px 2px 0;
  transform: rotate(45deg);
}

.card[aria-pressed="true"] .mark { display: block; }

/* Where there is little room for large text, the texts are below the portrait. */
.texts {
  flex: 1 1 7rem;
  min-inline-size: 0;
  display: grid;
  grid-template: 2.625rem 1.25rem 1.375rem / fit-content(60%) minmax(0, 1fr);
  row-gap: .125rem;
}

.name { grid-area: 1 / 1 / 2 / 3; display: grid; grid-template-columns: minmax(0, 1fr); align-content: end; }

.name > bdi {
  justify-self: start;
  display: -webkit-box;
  max-inline-size: 100%;
  max-block-size: 2.625rem;
  overflow: hidden;
  -webkit-box-orient: vertical;
  -webkit-line-clamp: 2;
  font-size: 1.0625rem;
  font-weight: 620;
  line-height: 1.3125rem;
  letter-spacing: -.01em;
  overflow-wrap: anywhere;
}

/* The domain of a long address stays visible: it identifies the provider. */
.email {
  grid-area: 2 / 1 / 3 / 3;
  display: flex;
  overflow: hidden;
  color: var(--persona-card-muted, var(--muted));
  font-size: .875rem;
  line-height: 1.25rem;
  white-space: pre;
}

.address { display: flex; min-inline-size: 0; }
.local, .domain { overflow: hidden; text-overflow: ellipsis; }
.at { flex: none; }

/* Shrinks first, to one letter; then the domain shrinks. */
.local { flex: 0 10000 auto; min-inline-size: 3ch; }
.local.short { flex: none; min-inline-size: 0; }

/* The end of a domain counts most, so the ellipsis is at its start: the end of a right-to-left line. */
.domain { flex: 0 1 auto; min-inline-size: 0; direction: rtl; }

.label, .about { grid-row: 3; font-size: .75rem; line-height: 1.375rem; white-space: nowrap; }

/* The ellipsis is at the end of the text, whose direction may differ from that of the card. */
.label > bdi, .about { display: block; overflow: hidden; text-overflow: ellipsis; }

.label {
  grid-column: 1;
  min-inline-size: 0;
  margin-inline-end: .5rem;
  padding-inline: .5625rem;
  border-radius: 1rem;
  background: color-mix(in oklab, currentcolor 13%, var(--persona-card-surface, var(--surface)));
  color: var(--persona-card-accent, var(--accent));
  font-weight: 600;
}

.label[hidden] { display: none; }

.about {
  grid-column: 2;
  justify-self: start;
  max-inline-size: 100%;
  color: var(--persona-card-muted, var(--muted));
}

@media (prefers-reduced-motion: no-preference) {
  .card { transition: border-color .15s, box-shadow .15s, background-color .15s; }
  .late { animation: appear .2s ease-out; }
  @keyframes appear { from { opacity: 0; } }
}

@media (forced-colors: active) {
  .card, .card:hover:enabled { border-color: ButtonBorder; background: ButtonFace; color: ButtonText; }
  .card[aria-pressed="true"] { border-color: Highlight; outline: 2px solid Highlight; }
  .card:focus-visible { outline: 3px solid Highlight; }
  .card:disabled { color: GrayText; }
  .card:disabled :is(.portrait, .texts) { opacity: 1; }
  .email, .about, .label { color: inherit; }
  .monogram, .label { border: 1px solid currentcolor; }
  .portrait .mark { forced-color-adjust: none; border-color: ButtonFace; background: Highlight; }
  .mark::before { border-color: HighlightText; }
}
`;
