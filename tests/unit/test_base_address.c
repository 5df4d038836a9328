#include "base/address.h"

#include <stdbool.h>

#include "base/mem.h"
#include "row.h"

static void test_an_address_is_read_or_refused(void **state)
{
	static const struct {
		const char *text;
		bool good, loopback;
	} rows[] = {
		{ "127.0.0.1:9469", true, true },
		{ "127.9.9.9:1", true, true },
		{ "127.0.0.1:0", true, true },
		{ "0.0.0.0:65535", true, false },
		{ "192.0.2.7:80", true, false },
		{ "128.0.0.1:80", true, false },
		{ "[::1]:9469", true, true },
		{ "[::]:9469", true, false },
		{ "[2001:db8::1]:80", true, false },
		{ "", false, false },
		{ ":", false, false },
		{ ":9469", false, false },
		{ "9469", false, false },
		{ "127.0.0.1", false, false },
		{ "127.0.0.1:", false, false },
		{ "127.0.0.1:x", false, false },
		{ "127.0.0.1:-1", false, false },
		{ "127.0.0.1:+1", false, false },
		{ "127.0.0.1:65536", false, false },
		{ "127.0.0.1:000080", false, false },
		{ "127.0.0.1:80 ", false, false },
		{ "127.0.0.256:80", false, false },
		{ "localhost:80", false, false },
		{ "::1:80", false, false },
		{ "[::1]80", false, false },
		{ "[::1", false, false },
		{ "[]:80", false, false },
		{ "[127.0.0.1]:80", false, false },
		{ "[1111:2222:3333:4444:5555:6666:7777:8888:9999:aaaa:bbbb:cccc]:80", false, false },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		struct address address;

		expect((address_parse(rows[i].text, &address) == 0) == rows[i].good, "\"%s\"", rows[i].text);
		expect(!rows[i].good || address_is_loopback(&address) == rows[i].loopback, "\"%s\"",
		       rows[i].text);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(test_an_address_is_read_or_refused) };

	return cmocka_run_group_tests(tests, NULL, NULL);
}
