"""The handlers of every cryptographic system call, under the names the table gives them."""

from __future__ import annotations

from tee.services.crypto_asymmetric import asymm_operate, asymm_verify
from tee.services.crypto_derive import cryp_derive_key
from tee.services.crypto_objects import (
    cryp_obj_alloc,
    cryp_obj_close,
    cryp_obj_copy,
    cryp_obj_generate_key,
    cryp_obj_get_attr,
    cryp_obj_get_info,
    cryp_obj_populate,
    cryp_obj_reset,
    cryp_obj_restrict_usage,
    cryp_random_number_generate,
)
from tee.services.crypto_states import (
    authenc_dec_final,
    authenc_enc_final,
    authenc_init,
    authenc_update_aad,
    authenc_update_payload,
    cipher_final,
    cipher_init,
    cipher_update,
    cryp_state_alloc,
    cryp_state_copy,
    cryp_state_free,
    hash_final,
    hash_init,
    hash_update,
)

__all__ = [
    "asymm_operate",
    "asymm_verify",
    "authenc_dec_final",
    "authenc_enc_final",
    "authenc_init",
    "authenc_update_aad",
    "authenc_update_payload",
    "cipher_final",
    "cipher_init",
    "cipher_update",
    "cryp_derive_key",
    "cryp_obj_alloc",
    "cryp_obj_close",
    "cryp_obj_copy",
    "cryp_obj_generate_key",
    "cryp_obj_get_attr",
    "cryp_obj_get_info",
    "cryp_obj_populate",
    "cryp_obj_reset",
    "cryp_obj_restrict_usage",
    "cryp_random_number_generate",
    "cryp_state_alloc",
    "cryp_state_copy",
    "cryp_state_free",
    "hash_final",
    "hash_init",
    "hash_update",
]
