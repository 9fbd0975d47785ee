// Made from messages/de.json by "make format".

/** @type {import("./persona-messages.js").Sentences} */
export default {
  aborted: "Abgebrochen.",
  access_token_invalid: "Der Anbieter bestätigt Ihre Adresse nicht mehr. Melden Sie sich erneut an.",
  answer_invalid:
    "Die Antwort stammt nicht vom Profilserver. Prüfen Sie Ihre Verbindung, und versuchen Sie es dann noch einmal.",
  body_too_large: "Dieses Bild ist [größer als {limit_bytes}|zu groß]. Wählen Sie ein kleineres.",
  conflict: "Jemand anderes ändert dieses Profil gerade. Versuchen Sie es in Kürze noch einmal.",
  crop_of_other_picture:
    "Der gewählte Ausschnitt gehört zu einem anderen Bild. Wählen Sie das Bild noch einmal aus.",
  crop_outside_picture:
    "Der gewählte Ausschnitt liegt außerhalb des Bildes. Wählen Sie das Bild noch einmal aus.",
  "description.character": "darf das Zeichen {character} an Stelle {position} nicht enthalten",
  "description.characters": {
    one: "darf höchstens {count} Zeichen haben",
    other: "darf höchstens {count} Zeichen haben",
  },
  "description.https": "muss eine https-URL sein",
  "description.key": {
    one: "muss base64url von {count} Byte sein",
    other: "muss base64url von {count} Bytes sein",
  },
  "description.key_or_null": {
    one: "muss base64url von {count} Byte sein oder null",
    other: "muss base64url von {count} Bytes sein oder null",
  },
  "description.language_tag": "muss ein Sprachkürzel wie {example} sein",
  "description.time_zone": "muss eine Zeitzone wie {example} sein",
  dns_unavailable:
    "Der Anbieter Ihrer Adresse ist gerade nicht zu finden. Versuchen Sie es später noch einmal.",
  domain_not_accepted:
    "Diese Art der Anmeldung wird für Ihre Adresse hier nicht akzeptiert. Wählen Sie eine andere, oder verwenden Sie eine andere Adresse.",
  email_invalid:
    "Diese Adresse kann hier nicht verwendet werden. Prüfen Sie die Schreibweise, oder verwenden Sie eine andere.",
  email_missing:
    "Der Anbieter bestätigt keine Adresse von Ihnen. Verwenden Sie eine andere Adresse, oder fragen Sie Ihren Anbieter.",
  email_not_proved: "Mit dieser Adresse sind Sie nicht angemeldet. Melden Sie sich zuerst mit ihr an.",
  email_not_verified:
    "Der Anbieter hat nicht geprüft, ob die Adresse Ihnen gehört. Verwenden Sie eine andere Adresse, oder fragen Sie Ihren Anbieter.",
  fedcm_direct_call:
    "Der Browser hat etwas angefordert, das der Profilserver Browsern nicht gibt. Das ist ein Fehler dieser Seite, nicht Ihrer. Laden Sie sie neu; wenn das nicht hilft, informieren Sie die Betreiber dieser Website.",
  field: "{label}: {description}.",
  "field.email": "Adresse",
  "field.family_name": "Nachname",
  "field.given_name": "Vorname",
  "field.label": "Etikett",
  "field.locale": "Sprache",
  "field.name": "Name",
  "field.nickname": "Spitzname",
  "field.picture": "Bild",
  "field.picture_alt": "Bild in Worten",
  "field.profile_key": "Schlüssel",
  "field.pronouns": "Pronomen",
  "field.website": "Website",
  "field.zoneinfo": "Zeitzone",
  file_unreadable:
    "Diese Datei kann nicht gelesen werden. Vielleicht wurde sie verschoben oder gelöscht; wählen Sie sie noch einmal aus.",
  internal_error:
    "Dem Server ist ein Fehler unterlaufen. Versuchen Sie es noch einmal; wenn das nicht hilft, informieren Sie die Betreiber[ und nennen Sie ihnen diese Nummer: {request_id}].",
  issuer_disabled:
    "Der Anbieter Ihrer Adresse hat diese Art der Anmeldung abgeschaltet. Verwenden Sie eine andere Adresse, oder fragen Sie Ihren Anbieter.",
  issuer_not_authoritative:
    "Dieser Anbieter ist für Ihre Adresse nicht zuständig. Verwenden Sie eine andere Adresse, oder fragen Sie Ihren Anbieter.",
  issuer_not_set_up:
    "Der Anbieter Ihrer Adresse ist nicht so eingerichtet, dass es hier funktioniert. Verwenden Sie eine andere Adresse, oder fragen Sie Ihren Anbieter.",
  issuer_unknown:
    "Der Profilserver kennt den Anbieter nicht, bei dem Sie sich angemeldet haben. Verwenden Sie eine andere Adresse, oder fragen Sie Ihren Anbieter.",
  issuer_unreachable:
    "Der Anbieter Ihrer Adresse ist gerade nicht erreichbar. Versuchen Sie es später noch einmal.",
  issuer_without_support:
    "Der Anbieter Ihrer Adresse unterstützt diese Art der Anmeldung nicht. Verwenden Sie eine andere Adresse, oder fragen Sie Ihren Anbieter.",
  key_unknown:
    "Der Anbieter hat gerade seine Schlüssel gewechselt. Versuchen Sie es in Kürze noch einmal.",
  keys_unavailable:
    "Profile können gerade nicht geöffnet werden. Es ist nichts verloren. Versuchen Sie es [in {wait}|in Kürze] noch einmal.",
  last_profile_key:
    "Das ist der letzte Schlüssel dieses Profils; er bleibt. Soll sich das Profil ohne Schlüssel öffnen, heben Sie den Schutz auf.",
  malformed_request:
    "Der Server hat diese Seite nicht verstanden. Das ist ein Fehler dieser Seite, nicht Ihrer. Laden Sie sie neu; wenn das nicht hilft, informieren Sie die Betreiber dieser Website.",
  megapixels: {
    one: "{count} Megapixel",
    other: "{count} Megapixel",
  },
  method_not_allowed:
    "Das kann der Server nicht. Das ist ein Fehler dieser Seite, nicht Ihrer. Laden Sie sie neu; wenn das nicht hilft, informieren Sie die Betreiber dieser Website.",
  misdirected_request:
    "Der Server kennt die Adresse nicht, unter der er aufgerufen wurde. Das ist ein Fehler dieser Seite, nicht Ihrer. Laden Sie sie neu; wenn das nicht hilft, informieren Sie die Betreiber dieser Website.",
  no_answer:
    "Der Profilserver antwortet nicht. Es ist nichts verloren. Versuchen Sie es in Kürze noch einmal.",
  no_code:
    "Hier ist etwas schiefgegangen. Das ist ein Fehler dieser Seite, nicht Ihrer. Laden Sie sie neu; wenn das nicht hilft, informieren Sie die Betreiber dieser Website.",
  nonce_expired: "Die Anmeldung beim Anbieter hat zu lange gedauert. Melden Sie sich erneut an.",
  nonce_invalid:
    "Der Nachweis Ihrer Adresse ist nicht für diese Anmeldung bestimmt. Melden Sie sich erneut an.",
  not_acceptable:
    "Der Server hat kein Bild in einem Format für diesen Browser. Das ist ein Fehler dieser Seite, nicht Ihrer. Laden Sie sie neu; wenn das nicht hilft, informieren Sie die Betreiber dieser Website.",
  not_found: "Das gibt es nicht mehr. Laden Sie das Profil noch einmal.",
  not_implemented:
    "Zwischen diesem Browser und dem Server ist etwas im Weg. Versuchen Sie es über eine andere Verbindung.",
  offline:
    "Sie sind offline. Stellen Sie eine Verbindung zum Internet her, und versuchen Sie es dann noch einmal.",
  origin_refused:
    "Der Profilserver arbeitet nicht mit dieser Website zusammen. Informieren Sie die Betreiber der Website.",
  overloaded: "Der Server ist gerade ausgelastet. Versuchen Sie es [in {wait}|in Kürze] noch einmal.",
  passkey_cancelled: "Es wurde kein Passkey verwendet. Es hat sich nichts geändert.",
  passkey_exists:
    "Auf diesem Gerät ist schon einer Ihrer Passkeys. Wählen Sie ein anderes Gerät, oder verwenden Sie den vorhandenen Passkey.",
  passkey_forbidden:
    "Diese Seite darf keine Passkeys verwenden. Das ist ein Fehler dieser Seite, nicht Ihrer. Verwenden Sie einen Wiederherstellungscode.",
  passkey_unreliable:
    "Dieser Passkey gibt nicht jedes Mal denselben Schlüssel, also kann er kein Profil schützen. Es hat sich nichts geändert. Verwenden Sie einen anderen Passkey oder einen Wiederherstellungscode.",
  passkey_unsupported:
    "Dieser Browser oder dieses Gerät gibt keinen Schlüssel eines Passkeys heraus. Verwenden Sie einen Wiederherstellungscode oder einen anderen Browser.",
  picture_broken: "Dieses Bild ist beschädigt oder unvollständig. Wählen Sie eine andere Datei.",
  picture_empty: "Diese Datei ist leer. Wählen Sie eine andere.",
  picture_locked:
    "Die Betreiber haben das Bild dieser Adresse entfernt und nehmen[ bis {until}| vorerst] kein anderes an.[ Der Grund: {reason}]",
  picture_removed:
    "Die Betreiber haben das Bild dieser Adresse entfernt.[ Der Grund: {reason}] Sie können ein anderes wählen.",
  picture_too_complex:
    "Dieses Bild ist zu komplex. Speichern Sie es als JPEG, oder wählen Sie ein anderes.",
  picture_too_large:
    "Das Bild Ihres Anbieters ist [größer als {limit_bytes}|zu groß]. Wählen Sie stattdessen eine kleinere Datei.",
  picture_too_many_pixels:
    "Dieses Bild hat zu viele Pixel[ ({pixels})].[ Höchstens {limit_pixels} sind möglich.] Wählen Sie ein kleineres.",
  picture_unreachable:
    "Das Bild Ihres Anbieters kann nicht abgerufen werden. Wählen Sie stattdessen eine Datei.",
  precondition_failed:
    "Dieses Profil wurde inzwischen an anderer Stelle geändert. Sehen Sie sich den jetzigen Stand an, und speichern Sie dann noch einmal.",
  profile_key_required:
    "Dieses Profil lässt sich nur mit Ihrem eigenen Schlüssel öffnen. Geben Sie ihn ein, um es zu sehen oder zu ändern.",
  profile_key_wrong:
    "Dieses Profil lässt sich mit einem anderen Schlüssel von Ihnen öffnen. Geben Sie diesen ein, um es zu sehen oder zu ändern.",
  profile_not_protected: "Dieses Profil hat noch keinen eigenen Schlüssel. Schützen Sie es zuerst.",
  profile_unreadable:
    "Die gespeicherten Daten dieser Adresse können gerade nicht gelesen werden. Die Betreiber wissen Bescheid. Versuchen Sie es später noch einmal.",
  proof_expired: "Der Nachweis Ihrer Adresse ist zu alt. Melden Sie sich erneut an.",
  proof_for_other_website:
    "Der Nachweis Ihrer Adresse wurde für eine andere Website ausgestellt. Melden Sie sich erneut an.",
  proof_invalid: "Der Nachweis Ihrer Adresse ist ungültig. Melden Sie sich erneut an.",
  proof_not_accepted:
    "Der Anbieter Ihrer Adresse hat einen Nachweis ausgestellt, der hier nicht akzeptiert wird. Verwenden Sie eine andere Adresse, oder fragen Sie Ihren Anbieter.",
  proof_not_yet_valid:
    "Der Nachweis Ihrer Adresse stammt aus der Zukunft. Prüfen Sie die Uhr dieses Geräts, und melden Sie sich dann erneut an.",
  proof_replayed: "Der Nachweis Ihrer Adresse wurde schon einmal verwendet. Melden Sie sich erneut an.",
  proof_revoked:
    "Seit der Nachweis Ihrer Adresse ausgestellt wurde, haben Sie sich abgemeldet. Melden Sie sich erneut an.",
  proof_unreadable: "Der Nachweis Ihrer Adresse kann nicht gelesen werden. Melden Sie sich erneut an.",
  rate_limited: "Das war zu viel in kurzer Zeit. Versuchen Sie es [in {wait}|in Kürze] noch einmal.",
  recovery_code_invalid:
    "Das ist kein Wiederherstellungscode. Vergleichen Sie ihn Gruppe für Gruppe mit Ihrer Kopie: Er hat 56 Buchstaben und Ziffern.",
  request_headers_too_large:
    "Dieser Browser sendet mehr, als der Server annimmt. Melden Sie sich ab, und melden Sie sich dann mit weniger Adressen an.",
  service_unavailable:
    "Der Profilserver ist gerade nicht in Betrieb. Es ist nichts verloren. Versuchen Sie es [in {wait}|in Kürze] noch einmal.",
  session_expired: "Ihre Sitzung ist abgelaufen. Bitte melden Sie sich erneut an.",
  session_invalid: "Der Server kennt Ihre Sitzung nicht mehr. Bitte melden Sie sich erneut an.",
  session_missing: "Sie sind nicht angemeldet. Bitte melden Sie sich an.",
  session_revoked: "Sie wurden abgemeldet. Bitte melden Sie sich erneut an.",
  sign_in_denied: "Sie haben sich beim Anbieter nicht angemeldet. Hier hat sich nichts geändert.",
  sign_in_failed:
    "Der Anbieter konnte Sie nicht anmelden. Es ist nichts verloren. Versuchen Sie es noch einmal, oder wählen Sie eine andere Art der Anmeldung.",
  sign_in_mismatch:
    "Die Antwort des Anbieters gehört zu keiner Anmeldung in diesem Fenster. Es hat sich nichts geändert. Melden Sie sich erneut an.",
  storage_unavailable:
    "Profile sind gerade nicht erreichbar. Es ist nichts verloren. Versuchen Sie es [in {wait}|in Kürze] noch einmal.",
  suggestion_invalid:
    "Das Bild Ihres Anbieters kann nicht mehr übernommen werden. Wählen Sie eine Datei, oder melden Sie sich beim Anbieter neu an.",
  timeout:
    "Der Profilserver braucht zu lange für eine Antwort, oder die Verbindung ist unterbrochen. Versuchen Sie es in Kürze noch einmal.",
  too_many_profile_keys:
    "Dieses Profil hat schon so viele Schlüssel, wie es haben kann. Entfernen Sie zuerst einen.",
  unknown_code: "Das hat nicht funktioniert ({code}). Informieren Sie die Betreiber dieser Website.",
  unsupported_media_type:
    "Dieses Bild kann nicht verwendet werden. Wählen Sie eine Datei im Format JPEG, PNG, WebP, GIF, AVIF, HEIC, JPEG XL oder DNG.",
  validation_failed: "[{fields}|Etwas stimmt noch nicht. Prüfen Sie Ihre Eingaben.]",
};
