#include "base/utf8.h"

#include "base/mem.h"
#include "row.h"

static void test_only_rfc_3629_is_valid(void **state)
{
	static const struct {
		const char *text;
		bool want;
	} rows[] = {
		{ "", true },
		{ "plain", true },
		{ "\x7f", true },
		{ "\xc2\x80", true },
		{ "\xdf\xbf", true },
		{ "\xe0\xa0\x80", true },
		{ "\xed\x9f\xbf", true },
		{ "\xee\x80\x80", true },
		{ "\xef\xbf\xbf", true },
		{ "\xf0\x90\x80\x80", true },
		{ "\xf4\x8f\xbf\xbf", true },
		{ "a\xc3\xa9z", true },
		{ "\x80", false },
		{ "\xbf", false },
		{ "\xc0\x80", false },
		{ "\xc1\xbf", false },
		{ "\xc2", false },
		{ "\xc2z", false },
		{ "\xe0\x9f\xbf", false },
		{ "\xe2\x82", false },
		{ "\xed\xa0\x80", false },
		{ "\xed\xbf\xbf", false },
		{ "\xf0\x8f\xbf\xbf", false },
		{ "\xf0\x9f\x98", false },
		{ "\xf4\x90\x80\x80", false },
		{ "\xf5\x80\x80\x80", false },
		{ "\xff", false },
		{ "good \xfe", false },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++)
		expect(utf8_is_valid(rows[i].text) == rows[i].want, "row %zu", i);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_only_rfc_3629_is_valid),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
