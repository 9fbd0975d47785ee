// Made from messages/fr.json by "make format".

/** @type {import("./persona-messages.js").Sentences} */
export default {
  aborted: "Annulé.",
  access_token_invalid: "Le fournisseur ne confirme plus votre adresse. Reconnectez-vous.",
  answer_invalid:
    "La réponse ne vient pas du serveur de profils. Vérifiez votre connexion, puis réessayez.",
  body_too_large: "Cette image [dépasse {limit_bytes}|est trop grande]. Choisissez-en une plus petite.",
  conflict: "Quelqu’un d’autre est en train de modifier ce profil. Réessayez dans un instant.",
  crop_of_other_picture: "La zone choisie appartient à une autre image. Choisissez de nouveau l’image.",
  crop_outside_picture: "La zone choisie sort de l’image. Choisissez de nouveau l’image.",
  "description.character": "ne doit pas contenir le caractère {character} en position {position}",
  "description.characters": {
    one: "doit compter au plus {count} caractère",
    many: "doit compter au plus {count} de caractères",
    other: "doit compter au plus {count} caractères",
  },
  "description.https": "doit être une URL https",
  "description.key": {
    one: "doit être {count} octet en base64url",
    many: "doit être {count} d’octets en base64url",
    other: "doit être {count} octets en base64url",
  },
  "description.key_or_null": {
    one: "doit être {count} octet en base64url, ou null",
    many: "doit être {count} d’octets en base64url, ou null",
    other: "doit être {count} octets en base64url, ou null",
  },
  "description.language_tag": "doit être un code de langue comme {example}",
  "description.time_zone": "doit être un fuseau horaire comme {example}",
  dns_unavailable:
    "Le fournisseur de votre adresse est introuvable pour le moment. Réessayez plus tard.",
  domain_not_accepted:
    "Ce mode de connexion n’est pas accepté ici pour votre adresse. Choisissez-en un autre ou utilisez une autre adresse.",
  email_invalid:
    "Cette adresse ne peut pas être utilisée ici. Vérifiez son orthographe ou utilisez-en une autre.",
  email_missing:
    "Le fournisseur ne confirme aucune de vos adresses. Utilisez une autre adresse ou contactez votre fournisseur.",
  email_not_proved: "Vous n’êtes pas connecté avec cette adresse. Connectez-vous d’abord avec elle.",
  email_not_verified:
    "Le fournisseur n’a pas vérifié que cette adresse est la vôtre. Utilisez une autre adresse ou contactez votre fournisseur.",
  fedcm_direct_call:
    "Le navigateur a demandé quelque chose que le serveur de profils ne donne pas aux navigateurs. C’est une erreur de cette page, pas la vôtre. Rechargez-la ; si cela ne suffit pas, prévenez les responsables de ce site.",
  field: "{label} : {description}.",
  "field.email": "Adresse",
  "field.family_name": "Nom de famille",
  "field.given_name": "Prénom",
  "field.label": "Étiquette",
  "field.locale": "Langue",
  "field.name": "Nom",
  "field.nickname": "Surnom",
  "field.picture": "Image",
  "field.picture_alt": "Description de l’image",
  "field.profile_key": "Clé",
  "field.pronouns": "Pronoms",
  "field.website": "Site web",
  "field.zoneinfo": "Fuseau horaire",
  file_unreadable:
    "Ce fichier ne peut pas être lu. Il a peut-être été déplacé ou supprimé ; choisissez-le de nouveau.",
  internal_error:
    "Le serveur a fait une erreur. Réessayez ; si cela ne suffit pas, prévenez ses responsables[ et donnez-leur ce numéro : {request_id}].",
  issuer_disabled:
    "Le fournisseur de votre adresse a désactivé ce mode de connexion. Utilisez une autre adresse ou contactez votre fournisseur.",
  issuer_not_authoritative:
    "Ce fournisseur n’est pas compétent pour votre adresse. Utilisez une autre adresse ou contactez votre fournisseur.",
  issuer_not_set_up:
    "Le fournisseur de votre adresse n’est pas configuré d’une façon qui fonctionne ici. Utilisez une autre adresse ou contactez votre fournisseur.",
  issuer_unknown:
    "Le serveur de profils ne connaît pas le fournisseur auprès duquel vous vous êtes connecté. Utilisez une autre adresse ou contactez votre fournisseur.",
  issuer_unreachable:
    "Le fournisseur de votre adresse est injoignable pour le moment. Réessayez plus tard.",
  issuer_without_support:
    "Le fournisseur de votre adresse ne propose pas ce mode de connexion. Utilisez une autre adresse ou contactez votre fournisseur.",
  key_unknown: "Le fournisseur vient de changer ses clés. Réessayez dans un instant.",
  keys_unavailable:
    "Les profils ne peuvent pas être ouverts pour le moment. Rien n’est perdu. Réessayez dans [{wait}|un instant].",
  last_profile_key:
    "C’est la dernière clé de ce profil ; elle reste. Pour ouvrir le profil sans clé, retirez la protection.",
  malformed_request:
    "Le serveur n’a pas compris cette page. C’est une erreur de cette page, pas la vôtre. Rechargez-la ; si cela ne suffit pas, prévenez les responsables de ce site.",
  megapixels: {
    one: "{count} mégapixel",
    many: "{count} de mégapixels",
    other: "{count} mégapixels",
  },
  method_not_allowed:
    "Le serveur ne sait pas faire cela. C’est une erreur de cette page, pas la vôtre. Rechargez-la ; si cela ne suffit pas, prévenez les responsables de ce site.",
  misdirected_request:
    "Le serveur ne connaît pas l’adresse utilisée. C’est une erreur de cette page, pas la vôtre. Rechargez-la ; si cela ne suffit pas, prévenez les responsables de ce site.",
  no_answer: "Le serveur de profils ne répond pas. Rien n’est perdu. Réessayez dans un instant.",
  no_code:
    "Quelque chose s’est mal passé ici. C’est une erreur de cette page, pas la vôtre. Rechargez-la ; si cela ne suffit pas, prévenez les responsables de ce site.",
  nonce_expired: "La connexion auprès du fournisseur a pris trop de temps. Reconnectez-vous.",
  nonce_invalid:
    "La preuve de votre adresse n’a pas été établie pour cette connexion. Reconnectez-vous.",
  not_acceptable:
    "Le serveur n’a pas d’image dans un format adapté à ce navigateur. C’est une erreur de cette page, pas la vôtre. Rechargez-la ; si cela ne suffit pas, prévenez les responsables de ce site.",
  not_found: "Cet élément n’existe plus. Rechargez le profil.",
  not_implemented:
    "Quelque chose fait obstacle entre ce navigateur et le serveur. Essayez une autre connexion.",
  offline: "Vous êtes hors ligne. Connectez-vous à internet, puis réessayez.",
  origin_refused:
    "Le serveur de profils ne fonctionne pas avec ce site. Prévenez les responsables du site.",
  overloaded: "Le serveur est très sollicité pour le moment. Réessayez dans [{wait}|un instant].",
  passkey_cancelled: "Aucune clé d’accès n’a été utilisée. Rien n’a changé.",
  passkey_exists:
    "Cet appareil a déjà l’une de vos clés d’accès. Choisissez un autre appareil ou utilisez la clé d’accès existante.",
  passkey_forbidden:
    "Cette page n’a pas le droit d’utiliser des clés d’accès. C’est une erreur de cette page, pas la vôtre. Utilisez un code de récupération.",
  passkey_unreliable:
    "Cette clé d’accès ne donne pas la même clé à chaque fois ; elle ne peut donc pas protéger un profil. Rien n’a changé. Utilisez une autre clé d’accès ou un code de récupération.",
  passkey_unsupported:
    "Ce navigateur ou cet appareil ne fournit pas de clé à partir d’une clé d’accès. Utilisez un code de récupération ou un autre navigateur.",
  picture_broken: "Cette image est endommagée ou incomplète. Choisissez un autre fichier.",
  picture_empty: "Ce fichier est vide. Choisissez-en un autre.",
  picture_locked:
    "Les responsables ont retiré l’image de cette adresse et n’en acceptent pas d’autre[ jusqu’au {until}| pour le moment].[ La raison : {reason}]",
  picture_removed:
    "Les responsables ont retiré l’image de cette adresse.[ La raison : {reason}] Vous pouvez en choisir une autre.",
  picture_too_complex:
    "Cette image est trop complexe pour être utilisée. Enregistrez-la en JPEG ou choisissez-en une autre.",
  picture_too_large:
    "L’image de votre fournisseur [dépasse {limit_bytes}|est trop grande]. Choisissez plutôt un fichier plus petit.",
  picture_too_many_pixels:
    "Cette image a trop de pixels[ ({pixels})].[ Le maximum est de {limit_pixels}.] Choisissez-en une plus petite.",
  picture_unreachable:
    "L’image de votre fournisseur ne peut pas être récupérée. Choisissez plutôt un fichier.",
  precondition_failed:
    "Ce profil a été modifié ailleurs entre-temps. Regardez son état actuel, puis enregistrez de nouveau.",
  profile_key_required:
    "Ce profil ne s’ouvre qu’avec votre propre clé. Saisissez-la pour le voir ou le modifier.",
  profile_key_wrong:
    "Ce profil s’ouvre avec une autre de vos clés. Saisissez cette clé pour le voir ou le modifier.",
  profile_not_protected: "Ce profil n’a pas encore de clé à lui. Protégez-le d’abord.",
  profile_unreadable:
    "Les données enregistrées de cette adresse ne peuvent pas être lues pour le moment. Les responsables sont au courant. Réessayez plus tard.",
  proof_expired: "La preuve de votre adresse est trop ancienne. Reconnectez-vous.",
  proof_for_other_website:
    "La preuve de votre adresse a été établie pour un autre site. Reconnectez-vous.",
  proof_invalid: "La preuve de votre adresse n’est pas valable. Reconnectez-vous.",
  proof_not_accepted:
    "Le fournisseur de votre adresse a établi une preuve qui n’est pas acceptée ici. Utilisez une autre adresse ou contactez votre fournisseur.",
  proof_not_yet_valid:
    "La preuve de votre adresse vient du futur. Vérifiez l’horloge de cet appareil, puis reconnectez-vous.",
  proof_replayed: "La preuve de votre adresse a déjà été utilisée. Reconnectez-vous.",
  proof_revoked:
    "Vous vous êtes déconnecté depuis que la preuve de votre adresse a été établie. Reconnectez-vous.",
  proof_unreadable: "La preuve de votre adresse ne peut pas être lue. Reconnectez-vous.",
  rate_limited: "Il y a eu trop de demandes en peu de temps. Réessayez dans [{wait}|un instant].",
  recovery_code_invalid:
    "Ce n’est pas un code de récupération. Comparez-le groupe par groupe avec votre copie : il a 56 lettres et chiffres.",
  request_headers_too_large:
    "Ce navigateur envoie plus que ce que le serveur accepte. Déconnectez-vous, puis reconnectez-vous avec moins d’adresses.",
  service_unavailable:
    "Le serveur de profils est en panne pour le moment. Rien n’est perdu. Réessayez dans [{wait}|un instant].",
  session_expired: "Votre session est terminée. Veuillez vous reconnecter.",
  session_invalid: "Le serveur ne reconnaît plus votre session. Veuillez vous reconnecter.",
  session_missing: "Vous n’êtes pas connecté. Veuillez vous connecter.",
  session_revoked: "Vous avez été déconnecté. Veuillez vous reconnecter.",
  sign_in_denied: "Vous ne vous êtes pas connecté auprès du fournisseur. Rien n’a changé ici.",
  sign_in_failed:
    "Le fournisseur n’a pas pu vous connecter. Rien n’est perdu. Réessayez ou choisissez un autre mode de connexion.",
  sign_in_mismatch:
    "La réponse du fournisseur ne correspond à aucune connexion de cette fenêtre. Rien n’a changé. Reconnectez-vous.",
  storage_unavailable:
    "Les profils sont inaccessibles pour le moment. Rien n’est perdu. Réessayez dans [{wait}|un instant].",
  suggestion_invalid:
    "L’image de votre fournisseur ne peut plus être reprise. Choisissez un fichier ou reconnectez-vous chez le fournisseur.",
  timeout:
    "Le serveur de profils met trop de temps à répondre, ou la connexion est interrompue. Réessayez dans un instant.",
  too_many_profile_keys: "Ce profil a déjà autant de clés qu’il peut en avoir. Retirez-en une d’abord.",
  unknown_code: "Cela n’a pas fonctionné ({code}). Prévenez les responsables de ce site.",
  unsupported_media_type:
    "Ce fichier n’est pas une image utilisable. Choisissez un fichier JPEG, PNG, WebP, GIF, AVIF, HEIC, JPEG XL ou DNG.",
  validation_failed: "[{fields}|Quelque chose n’est pas encore correct. Vérifiez votre saisie.]",
};
