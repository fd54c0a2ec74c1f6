/* SPDX-License-Identifier: Apache-2.0 */
#include "inet.h"

#include <arpa/inet.h>

socklen_t address_of(int domain, const char *host, uint16_t port, union address *ret)
{
	memset(ret, 0, sizeof(*ret));
	ret->any.sa_family = (sa_family_t)domain;
	ret->v4.sin_port = htons(port); /* sin6_port lies at the same place */
	if (domain == AF_INET)
		inet_pton(AF_INET, host, &ret->v4.sin_addr);
	else
		inet_pton(AF_INET6, host, &ret->v6.sin6_addr);
	return domain == AF_INET ? sizeof(ret->v4) : sizeof(ret->v6);
}

int inet_socket(struct target *t, int domain, int type, int protocol)
{
	int fd = socket(domain, type | SOCK_CLOEXEC, protocol);

	if (fd >= 0)
		return fd;
	if (errno == EPROTONOSUPPORT || errno == EAFNOSUPPORT || errno == ESOCKTNOSUPPORT ||
	    errno == ENOPROTOOPT)
		return -NOT_HERE;
	return setup(t, "socket");
}
