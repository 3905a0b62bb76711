/* SPDX-License-Identifier: MIT */
/*
 * Constants of the TEE ABI that the C code needs.
 *
 * Sources, optee_os 4.5: lib/libutee/include/tee_api_defines.h, tee_api_defines_extensions.h,
 * tee_api_types.h, tee_syscall_numbers.h, utee_types.h, utee_defines.h.
 */
#ifndef TEE_ABI_H
#define TEE_ABI_H

#include <stdint.h>

/* TEE_Result */
#define TEE_SUCCESS 0x00000000u
#define TEE_ERROR_GENERIC 0xFFFF0000u
#define TEE_ERROR_ACCESS_DENIED 0xFFFF0001u
#define TEE_ERROR_CANCEL 0xFFFF0002u
#define TEE_ERROR_BAD_PARAMETERS 0xFFFF0006u
#define TEE_ERROR_BAD_STATE 0xFFFF0007u
#define TEE_ERROR_NOT_IMPLEMENTED 0xFFFF0009u
#define TEE_ERROR_NOT_SUPPORTED 0xFFFF000Au
#define TEE_ERROR_OUT_OF_MEMORY 0xFFFF000Cu
#define TEE_ERROR_SECURITY 0xFFFF000Fu
#define TEE_ERROR_SHORT_BUFFER 0xFFFF0010u
#define TEE_ERROR_CIPHERTEXT_INVALID 0xF0100006u
#define TEE_ERROR_MAC_INVALID 0xFFFF3071u
#define TEE_ERROR_SIGNATURE_INVALID 0xFFFF3072u

/* TEE_OperationMode */
#define TEE_MODE_ENCRYPT 0u
#define TEE_MODE_DECRYPT 1u

/* TEE_OPERATION_*: bits 31..28 of an algorithm, with the exceptions of tee_algo_class() */
#define TEE_CLASS_CIPHER 1u
#define TEE_CLASS_MAC 3u
#define TEE_CLASS_AE 4u
#define TEE_CLASS_DIGEST 5u
#define TEE_CLASS_ASYMMETRIC_CIPHER 6u
#define TEE_CLASS_ASYMMETRIC_SIGNATURE 7u
#define TEE_CLASS_KEY_DERIVATION 8u

#define TEE_ALG_MD5SHA1 0x5000000Fu
#define TEE_ALG_SHA256 0x50000004u
#define TEE_ALG_AES_CTR 0x10000210u
#define TEE_ALG_SM4_CTR 0x10000214u
#define TEE_ALG_SM4_XTS 0xF0000414u
#define TEE_ALG_DES3_CMAC 0xF0000613u
#define TEE_ALG_SM2_PKE 0x80000046u
#define TEE_ALG_SM2_KEP 0x60000045u
#define TEE_ALG_RSASSA_PKCS1_V1_5 0xF0000830u
#define TEE_ALG_RSASSA_PKCS1_PSS_MGF1_MD5 0xF0111930u
#define TEE_ALG_RSAES_PKCS1_OAEP_MGF1_MD5 0xF0110230u

#define TEE_ATTR_FLAG_VALUE 0x20000000u
#define TEE_ATTR_RSA_PSS_SALT_LENGTH 0xF0000A30u
#define TEE_ATTR_SECRET_VALUE 0xC0000000u
#define TEE_ATTR_ECC_PUBLIC_VALUE_X 0xD0000141u
#define TEE_ATTR_ECC_PUBLIC_VALUE_Y 0xD0000241u

#define TEE_USAGE_DEFAULT 0xFFFFFFFFu
#define TEE_USAGE_EXTRACTABLE 0x00000001u
#define TEE_HANDLE_FLAG_INITIALIZED 0x00020000u

/* struct utee_attribute: a, b of a value; of a buffer its address and octets */
struct tee_attribute {
    uint64_t a, b;
    uint32_t id, pad;
};

/* struct utee_object_info; sizes in bits */
struct tee_object_info {
    uint32_t type, size, max_size, usage, data_size, data_position, flags;
};

/* TEE_MEMORY_ACCESS_* */
#define TEE_ACCESS_READ 0x00000001u
#define TEE_ACCESS_WRITE 0x00000002u
#define TEE_ACCESS_ANY_OWNER 0x00000004u
#define TEE_ACCESS_NONSECURE 0x10000000u
#define TEE_ACCESS_SECURE 0x20000000u

/* TEE_SCN_*: system calls that have a handler in C */
#define TEE_SCN_LOG 1u
#define TEE_SCN_CHECK_ACCESS_RIGHTS 8u
#define TEE_SCN_GET_CANCELLATION_FLAG 9u
#define TEE_SCN_UNMASK_CANCELLATION 10u
#define TEE_SCN_MASK_CANCELLATION 11u
#define TEE_SCN_GET_TIME 13u
#define TEE_SCN_HASH_UPDATE 19u
#define TEE_SCN_HASH_FINAL 20u
#define TEE_SCN_CIPHER_UPDATE 22u
#define TEE_SCN_CIPHER_FINAL 23u
#define TEE_SCN_CRYP_OBJ_GET_INFO 24u
#define TEE_SCN_CRYP_OBJ_GET_ATTR 26u
#define TEE_SCN_CRYP_OBJ_RESET 29u
#define TEE_SCN_CRYP_DERIVE_KEY 32u
#define TEE_SCN_CRYP_RANDOM_NUMBER_GENERATE 33u
#define TEE_SCN_AUTHENC_UPDATE_AAD 35u
#define TEE_SCN_AUTHENC_UPDATE_PAYLOAD 36u
#define TEE_SCN_AUTHENC_ENC_FINAL 37u
#define TEE_SCN_ASYMM_OPERATE 39u
#define TEE_SCN_ASYMM_VERIFY 40u

/* enum utee_time_category */
#define UTEE_TIME_CAT_SYSTEM 0u

#endif
