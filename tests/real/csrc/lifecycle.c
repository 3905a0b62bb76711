/* SPDX-License-Identifier: MIT */
/* A single-instance TA that counts its entry points: command 0 returns how often it was created, and destroyed. */
#include <tee_internal_api.h>

static uint32_t created, destroyed;

TEE_Result TA_CreateEntryPoint(void)
{
    created++;
    return TEE_SUCCESS;
}

void TA_DestroyEntryPoint(void)
{
    destroyed++;
}

TEE_Result TA_OpenSessionEntryPoint(uint32_t types, TEE_Param params[4], void **session)
{
    (void)session;
    return TEE_PARAM_TYPE_GET(types, 0) == TEE_PARAM_TYPE_VALUE_INPUT ? params[0].value.a : TEE_SUCCESS;
}

void TA_CloseSessionEntryPoint(void *session)
{
    (void)session;
}

TEE_Result TA_InvokeCommandEntryPoint(void *session, uint32_t command, uint32_t types, TEE_Param params[4])
{
    (void)session;
    (void)command;
    if (types != TEE_PARAM_TYPES(TEE_PARAM_TYPE_VALUE_OUTPUT, 0, 0, 0))
        return TEE_ERROR_BAD_PARAMETERS;
    params[0].value.a = created;
    params[0].value.b = destroyed;
    return TEE_SUCCESS;
}
