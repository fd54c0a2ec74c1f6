/* SPDX-License-Identifier: Apache-2.0 */
/* GET /v1/openapi.json: the file openapi.json beside this one, which the compiler puts into the agent as it is. */
#include "agent/api/internal.h"

__asm__(".pushsection .rodata\n"
	".local openapi_begin, openapi_end\n"
	"openapi_begin:\n"
	".incbin \"userspace/agent/api/openapi.json\"\n"
	"openapi_end:\n"
	".popsection\n");

extern const char openapi_begin[], openapi_end[];

const char *api_openapi(size_t *ret_n)
{
	*ret_n = (size_t)(openapi_end - openapi_begin);
	return openapi_begin;
}

enum MHD_Result api_openapi_get(struct api_request *r)
{
	size_t n;
	const char *text = api_openapi(&n);
	struct MHD_Response *response =
		MHD_create_response_from_buffer(n, (void *)text, MHD_RESPMEM_PERSISTENT);

	api_moving(r, true);
	return api_queue(r, 200, response, "application/json");
}
