// The pictures of cards: which URLs are accepted, and loading a picture before it is shown.

/** @typedef {{ thumbnail?: unknown, urls?: unknown } | null | undefined} Untrusted of a profile */

const THUMBNAIL = /^data:image\/(?:png|jpeg|webp|avif);base64,[A-Za-z0-9+/]+={0,2}$/;

/**
 * Returns the thumbnail if it is safe to show and to store: a data URL of a format that holds only pixels.
 * @param {Untrusted} picture
 */
export function thumbnailOf(picture) {
  const thumbnail = picture?.thumbnail;
  return typeof thumbnail === "string" && THUMBNAIL.test(thumbnail) ? thumbnail : null;
}

/**
 * Returns a decoded picture, ready to be shown at once: the thumbnail, or else the size that fits; null if
 * neither can be shown. Never rejects.
 * @param {Untrusted} picture
 * @param {number} side in CSS pixels
 */
export async function loadPicture(picture, side) {
  const thumbnail = thumbnailOf(picture);
  const candidates = candidatesOf(picture?.urls);
  const sources = [
    thumbnail && { src: thumbnail },
    candidates && { srcset: candidates, sizes: `${side}px` },
  ];
  for (const source of sources.filter(Boolean)) {
    const image = new Image();
    image.decoding = "async";
    // The server serves pictures to its dialogs' origins alone, so it gets the origin, but no path.
    image.referrerPolicy = "strict-origin";
    Object.assign(image, source);
    try {
      await image.decode();
      return image;
    } catch {
      // Broken, deleted, or blocked by the policy of the page.
    }
  }
  return null;
}

/**
 * Returns the value of `srcset`; empty if no URL is accepted.
 * @param {unknown} urls
 */
function candidatesOf(urls) {
  return Object.entries(typeof urls === "object" && urls ? urls : {})
    .filter(([side]) => /^[1-9][0-9]{0,4}$/.test(side))
    .map(([side, url]) => [acceptedUrl(String(url)), side])
    .filter(([url]) => url)
    .map(([url, side]) => `${url} ${side}w`)
    .join(", ");
}

/**
 * Returns an absolute URL or null. A page on https loads nothing over http.
 * @param {string} text
 */
function acceptedUrl(text) {
  try {
    const url = new URL(text);
    const accepted =
      url.protocol === "https:" || (url.protocol === "http:" && location.protocol === "http:");
    return accepted ? url.href.replaceAll(",", "%2C") : null;
  } catch {
    return null;
  }
}
