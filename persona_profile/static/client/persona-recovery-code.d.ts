export interface RecoveryCode {
  /** 14 groups of four digits and letters, to be printed; the last group are check digits. */
  code: string;
  /** The key for `addProfileKey` of `ProfileClient`: 32 bytes in base64url. */
  profileKey: string;
}

/** Returns a new recovery code of 256 random bits. */
export function newRecoveryCode(): Promise<RecoveryCode>;

/**
 * Returns the key of a recovery code, as it was typed or pasted: case, spaces, dashes and I, L, O for 1, 1, 0 do not
 * matter. Throws a ProfileError of code `recovery_code_invalid`, with the number of its digits and letters as
 * `details.digits`, and the right number as `details.of`.
 */
export function useRecoveryCode(code: string): Promise<string>;

/** Returns 32 bytes in base64url, derived by HKDF-SHA256 (RFC 5869) without salt. */
export function derive(secret: BufferSource, info: string): Promise<string>;

/** Returns bytes in base64url without padding. */
export function base64url(data: BufferSource): string;
