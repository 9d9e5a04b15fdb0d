/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Prints the addresses of each name that it is given, or why there are none: a line each. */
#include <netdb.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

int main(int count, char **names)
{
	for (int i = 1; i < count; i++) {
		struct addrinfo hints, *found, *at;
		char text[256];
		memset(&hints, 0, sizeof hints);
		hints.ai_socktype = SOCK_STREAM;
		int failure = getaddrinfo(names[i], "80", &hints, &found);
		printf("%s", names[i]);
		if (failure) {
			printf(" -\n");
			continue;
		}
		for (at = found; at; at = at->ai_next) {
			getnameinfo(at->ai_addr, at->ai_addrlen, text, sizeof text, 0, 0, NI_NUMERICHOST);
			printf(" %s", text);
		}
		printf("\n");
		freeaddrinfo(found);
	}
	return 0;
}
