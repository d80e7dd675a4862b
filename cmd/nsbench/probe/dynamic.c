/*
 * The same as probe.c for an ordinary program: the dynamic linker and libc come
 * first, main reads the clock and writes the line.
 */
#include <stdio.h>
#include <time.h>
#include <unistd.h>

int main(void)
{
	struct timespec now;
	char line[32];
	int length;

	clock_gettime(CLOCK_MONOTONIC, &now);
	length = snprintf(line, sizeof line, "first=%016llx\n",
		(unsigned long long)now.tv_sec * 1000000000ull + (unsigned long long)now.tv_nsec);
	if (write(STDOUT_FILENO, line, length) != length)
		return 1;
#ifdef HOLD
	for (;;)
		pause();
#endif
	return 0;
}
