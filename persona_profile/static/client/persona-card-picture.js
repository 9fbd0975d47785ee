// Pictures of cards: which addresses are taken, and fetching one without showing it half.

const THUMBNAIL = /^data:image\/(?:png|jpeg|webp|avif);base64,[A-Za-z0-9+/]+={0,2}$/;

/**
 * A thumbnail that may be shown or kept, or null: a picture within the profile itself, of a format that holds
 * nothing but pixels.
 *
 * @param {unknown} picture
 * @returns {string | null}
 */
export function thumbnailOf(picture) {
  const thumbnail = picture?.thumbnail;
  return typeof thumbnail === "string" && THUMBNAIL.test(thumbnail) ? thumbnail : null;
}

/**
 * Fetches and decodes a picture, so that it can be shown in one go: the thumbnail if it is one, else the size
 * that fits. Never rejects.
 *
 * @param {unknown} picture of a profile
 * @param {number} side in CSS pixels
 * @returns {Promise<HTMLImageElement | null>} null if there is none, or none that can be shown
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
    // The server shows pictures to pages of its dialogs alone, so it must hear of the origin, but of no more.
    image.referrerPolicy = "strict-origin";
    Object.assign(image, source);
    try {
      await image.decode();
      return image;
    } catch {
      // Broken, gone, or forbidden by the page's policy: the next one, or none.
    }
  }
  return null;
}

/** For `srcset`; empty if there is no address to be taken. */
function candidatesOf(urls) {
  return Object.entries(typeof urls === "object" && urls ? urls : {})
    .filter(([side]) => /^[1-9][0-9]{0,4}$/.test(side))
    .map(([side, url]) => [acceptedUrl(url), side])
    .filter(([url]) => url)
    .map(([url, side]) => `${url} ${side}w`)
    .join(", ");
}

/** A page that came by https asks for nothing in the clear. */
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
