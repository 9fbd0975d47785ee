// Made from messages/es.json by "make format".

/** @type {import("./persona-messages.js").Sentences} */
export default {
  aborted: "Cancelado.",
  access_token_invalid: "El proveedor ya no confirma su dirección. Vuelva a iniciar sesión.",
  answer_invalid:
    "La respuesta no procede del servidor de perfiles. Compruebe su conexión e inténtelo de nuevo.",
  body_too_large: "Esta imagen [supera {limit_bytes}|es demasiado grande]. Elija una más pequeña.",
  conflict:
    "Otra persona está cambiando este perfil en este momento. Inténtelo de nuevo en un momento.",
  crop_of_other_picture: "El recorte elegido pertenece a otra imagen. Vuelva a elegir la imagen.",
  crop_outside_picture: "El recorte elegido queda fuera de la imagen. Vuelva a elegir la imagen.",
  "description.character": "no debe contener el carácter {character} en la posición {position}",
  "description.characters": {
    one: "debe tener como máximo {count} carácter",
    many: "debe tener como máximo {count} de caracteres",
    other: "debe tener como máximo {count} caracteres",
  },
  "description.https": "debe ser una URL https",
  "description.key": {
    one: "debe ser {count} byte en base64url",
    many: "debe ser {count} de bytes en base64url",
    other: "debe ser {count} bytes en base64url",
  },
  "description.key_or_null": {
    one: "debe ser {count} byte en base64url, o null",
    many: "debe ser {count} de bytes en base64url, o null",
    other: "debe ser {count} bytes en base64url, o null",
  },
  "description.language_tag": "debe ser un código de idioma como {example}",
  "description.time_zone": "debe ser una zona horaria como {example}",
  dns_unavailable:
    "En este momento no se encuentra al proveedor de su dirección. Inténtelo de nuevo más tarde.",
  domain_not_accepted:
    "Esta forma de iniciar sesión no se acepta aquí para su dirección. Elija otra forma o use otra dirección.",
  email_invalid: "Esta dirección no se puede usar aquí. Compruebe cómo está escrita o use otra.",
  email_missing:
    "El proveedor no confirma ninguna dirección suya. Use otra dirección o consulte a su proveedor.",
  email_not_proved: "No ha iniciado sesión con esta dirección. Inicie sesión primero con ella.",
  email_not_verified:
    "El proveedor no ha comprobado que la dirección sea suya. Use otra dirección o consulte a su proveedor.",
  fedcm_direct_call:
    "El navegador ha pedido algo que el servidor de perfiles no entrega a los navegadores. Es un error de esta página, no suyo. Vuelva a cargarla; si eso no ayuda, avise a los responsables de este sitio web.",
  field: "{label}: {description}.",
  "field.email": "Dirección",
  "field.family_name": "Apellidos",
  "field.given_name": "Nombre de pila",
  "field.label": "Etiqueta",
  "field.locale": "Idioma",
  "field.name": "Nombre",
  "field.nickname": "Apodo",
  "field.picture": "Imagen",
  "field.picture_alt": "Descripción de la imagen",
  "field.profile_key": "Clave",
  "field.pronouns": "Pronombres",
  "field.website": "Sitio web",
  "field.zoneinfo": "Zona horaria",
  file_unreadable:
    "Este archivo no se puede leer. Puede que se haya movido o eliminado; elíjalo de nuevo.",
  internal_error:
    "El servidor ha cometido un error. Inténtelo de nuevo; si eso no ayuda, avise a sus responsables[ e indíqueles este número: {request_id}].",
  issuer_disabled:
    "El proveedor de su dirección ha desactivado esta forma de iniciar sesión. Use otra dirección o consulte a su proveedor.",
  issuer_not_authoritative:
    "Este proveedor no tiene autoridad sobre su dirección. Use otra dirección o consulte a su proveedor.",
  issuer_not_set_up:
    "El proveedor de su dirección no está configurado de una forma que funcione aquí. Use otra dirección o consulte a su proveedor.",
  issuer_unknown:
    "El servidor de perfiles no conoce al proveedor con el que ha iniciado sesión. Use otra dirección o consulte a su proveedor.",
  issuer_unreachable:
    "En este momento no se puede contactar con el proveedor de su dirección. Inténtelo de nuevo más tarde.",
  issuer_without_support:
    "El proveedor de su dirección no admite esta forma de iniciar sesión. Use otra dirección o consulte a su proveedor.",
  key_unknown: "El proveedor acaba de cambiar sus claves. Inténtelo de nuevo en un momento.",
  keys_unavailable:
    "En este momento no se pueden abrir los perfiles. No se ha perdido nada. Inténtelo de nuevo [en {wait}|en un momento].",
  last_profile_key:
    "Es la última clave de este perfil y se conserva. Para abrir el perfil sin clave, quite la protección.",
  malformed_request:
    "El servidor no ha entendido a esta página. Es un error de esta página, no suyo. Vuelva a cargarla; si eso no ayuda, avise a los responsables de este sitio web.",
  megapixels: {
    one: "{count} megapíxel",
    many: "{count} de megapíxeles",
    other: "{count} megapíxeles",
  },
  method_not_allowed:
    "El servidor no puede hacer esto. Es un error de esta página, no suyo. Vuelva a cargarla; si eso no ayuda, avise a los responsables de este sitio web.",
  misdirected_request:
    "El servidor no conoce la dirección que se ha usado. Es un error de esta página, no suyo. Vuelva a cargarla; si eso no ayuda, avise a los responsables de este sitio web.",
  no_answer:
    "El servidor de perfiles no responde. No se ha perdido nada. Inténtelo de nuevo en un momento.",
  no_code:
    "Algo ha salido mal aquí. Es un error de esta página, no suyo. Vuelva a cargarla; si eso no ayuda, avise a los responsables de este sitio web.",
  nonce_expired: "El inicio de sesión con el proveedor ha tardado demasiado. Vuelva a iniciar sesión.",
  nonce_invalid:
    "La prueba de su dirección no se hizo para este inicio de sesión. Vuelva a iniciar sesión.",
  not_acceptable:
    "El servidor no tiene ninguna imagen en un formato para este navegador. Es un error de esta página, no suyo. Vuelva a cargarla; si eso no ayuda, avise a los responsables de este sitio web.",
  not_found: "Esto ya no existe. Vuelva a cargar el perfil.",
  not_implemented:
    "Hay algo que se interpone entre este navegador y el servidor. Pruebe con otra conexión.",
  offline: "No tiene conexión. Conéctese a internet e inténtelo de nuevo.",
  origin_refused:
    "El servidor de perfiles no funciona con este sitio web. Avise a los responsables del sitio web.",
  overloaded: "El servidor está ocupado en este momento. Inténtelo de nuevo [en {wait}|en un momento].",
  passkey_cancelled: "No se usó ninguna llave de acceso. No ha cambiado nada.",
  passkey_exists:
    "Este dispositivo ya tiene una de sus llaves de acceso. Elija otro dispositivo o use la que hay.",
  passkey_forbidden:
    "Esta página no puede usar llaves de acceso. Es un error de esta página, no de usted. Use un código de recuperación.",
  passkey_unreliable:
    "Esta llave de acceso no da siempre la misma clave, así que no puede proteger un perfil. No ha cambiado nada. Use otra llave de acceso o un código de recuperación.",
  passkey_unsupported:
    "Este navegador o este dispositivo no proporciona la clave de una llave de acceso. Use un código de recuperación u otro navegador.",
  picture_broken: "Esta imagen está dañada o incompleta. Elija otro archivo.",
  picture_empty: "Este archivo está vacío. Elija otro.",
  picture_locked:
    "Los responsables han retirado la imagen de esta dirección y no aceptan otra[ hasta el {until}| por ahora].[ El motivo: {reason}]",
  picture_removed:
    "Los responsables han retirado la imagen de esta dirección.[ El motivo: {reason}] Puede elegir otra.",
  picture_too_complex:
    "Esta imagen es demasiado compleja para usarla. Guárdela como JPEG o elija otra.",
  picture_too_large:
    "La imagen de su proveedor [supera {limit_bytes}|es demasiado grande]. Elija un archivo más pequeño en su lugar.",
  picture_too_many_pixels:
    "Esta imagen tiene demasiados píxeles[ ({pixels})].[ El máximo es de {limit_pixels}.] Elija una más pequeña.",
  picture_unreachable: "No se puede obtener la imagen de su proveedor. Elija un archivo en su lugar.",
  precondition_failed:
    "Mientras tanto, este perfil se ha cambiado en otro lugar. Revise su estado actual y guárdelo de nuevo.",
  profile_key_required:
    "Este perfil solo se abre con su propia clave. Introdúzcala para verlo o cambiarlo.",
  profile_key_wrong:
    "Este perfil se abre con otra de sus claves. Introduzca esa clave para verlo o cambiarlo.",
  profile_not_protected: "Este perfil todavía no tiene una clave propia. Protéjalo primero.",
  profile_unreadable:
    "En este momento no se pueden leer los datos guardados de esta dirección. Los responsables ya lo saben. Inténtelo de nuevo más tarde.",
  proof_expired: "La prueba de su dirección es demasiado antigua. Vuelva a iniciar sesión.",
  proof_for_other_website:
    "La prueba de su dirección se hizo para otro sitio web. Vuelva a iniciar sesión.",
  proof_invalid: "La prueba de su dirección no es válida. Vuelva a iniciar sesión.",
  proof_not_accepted:
    "El proveedor de su dirección ha emitido una prueba que no se acepta aquí. Use otra dirección o consulte a su proveedor.",
  proof_not_yet_valid:
    "La prueba de su dirección procede del futuro. Compruebe el reloj de este dispositivo y vuelva a iniciar sesión.",
  proof_replayed: "La prueba de su dirección ya se ha usado. Vuelva a iniciar sesión.",
  proof_revoked:
    "Ha cerrado la sesión después de que se hiciera la prueba de su dirección. Vuelva a iniciar sesión.",
  proof_unreadable: "La prueba de su dirección no se puede leer. Vuelva a iniciar sesión.",
  rate_limited:
    "Han sido demasiadas peticiones en poco tiempo. Inténtelo de nuevo [en {wait}|en un momento].",
  recovery_code_invalid:
    "Esto no es un código de recuperación. Compárelo grupo por grupo con su copia: tiene 56 letras y cifras.",
  request_headers_too_large:
    "Este navegador envía más de lo que el servidor acepta. Cierre la sesión y vuelva a iniciarla con menos direcciones.",
  service_unavailable:
    "El servidor de perfiles no está disponible en este momento. No se ha perdido nada. Inténtelo de nuevo [en {wait}|en un momento].",
  session_expired: "Su sesión ha terminado. Vuelva a iniciar sesión.",
  session_invalid: "El servidor ya no reconoce su sesión. Vuelva a iniciar sesión.",
  session_missing: "No ha iniciado sesión. Inicie sesión, por favor.",
  session_revoked: "Se ha cerrado su sesión. Vuelva a iniciar sesión.",
  sign_in_denied: "No ha iniciado sesión con el proveedor. Aquí no ha cambiado nada.",
  sign_in_failed:
    "El proveedor no ha podido iniciar su sesión. No se ha perdido nada. Inténtelo de nuevo o elija otra forma.",
  sign_in_mismatch:
    "La respuesta del proveedor no corresponde a ningún inicio de sesión de esta ventana. No ha cambiado nada. Vuelva a iniciar sesión.",
  storage_unavailable:
    "En este momento no se puede acceder a los perfiles. No se ha perdido nada. Inténtelo de nuevo [en {wait}|en un momento].",
  suggestion_invalid:
    "La imagen de su proveedor ya no se puede usar. Elija un archivo o vuelva a iniciar sesión con el proveedor.",
  timeout:
    "El servidor de perfiles tarda demasiado en responder o la conexión se ha interrumpido. Inténtelo de nuevo en un momento.",
  too_many_profile_keys: "Este perfil ya tiene todas las claves que puede tener. Quite una primero.",
  unknown_code: "Eso no ha funcionado ({code}). Avise a los responsables de este sitio web.",
  unsupported_media_type:
    "Esto no es una imagen que se pueda usar. Elija un archivo JPEG, PNG, WebP, GIF, AVIF, HEIC, JPEG XL o DNG.",
  validation_failed: "[{fields}|Todavía hay algo que no está bien. Revise lo que ha introducido.]",
};
