#include "row.h"

#include <string.h>

#include "base/mem.h"
#include "policy/error.h"

static const struct {
	const char *name;
	enum error_code code;
	enum error_class class;
} rows[] = {
	{ "RATE_LIMIT", ERROR_RATE_LIMIT, ERROR_WAIT },
	{ "TIMEOUT", ERROR_TIMEOUT, ERROR_TRANSIENT },
	{ "NETWORK_ERROR", ERROR_NETWORK_ERROR, ERROR_TRANSIENT },
	{ "SERVER_ERROR", ERROR_SERVER_ERROR, ERROR_TRANSIENT },
	{ "WORKER_CRASH", ERROR_WORKER_CRASH, ERROR_TRANSIENT },
	{ "UNKNOWN", ERROR_UNKNOWN, ERROR_TRANSIENT },
	{ "QUOTA_EXHAUSTED", ERROR_QUOTA_EXHAUSTED, ERROR_PARK },
	{ "AUTH_ERROR", ERROR_AUTH_ERROR, ERROR_PERMANENT },
	{ "MISSING_API_KEY", ERROR_MISSING_API_KEY, ERROR_PERMANENT },
	{ "VALIDATION_ERROR", ERROR_VALIDATION_ERROR, ERROR_PERMANENT },
	{ "NOT_FOUND", ERROR_NOT_FOUND, ERROR_PERMANENT },
	{ "INVALID_RESPONSE", ERROR_INVALID_RESPONSE, ERROR_PERMANENT },
	{ "CONTENT_BLOCKED", ERROR_CONTENT_BLOCKED, ERROR_PERMANENT },
	{ "UNSUPPORTED_PROVIDER", ERROR_UNSUPPORTED_PROVIDER, ERROR_PERMANENT },
	{ "POISON", ERROR_POISON, ERROR_PERMANENT },
	{ "CANCELLED", ERROR_CANCELLED, ERROR_PERMANENT },
};

static void test_each_code_has_its_name_and_class(void **state)
{
	(void)state;
	assert_int_equal(ARRAY_LEN(rows), ERROR_CODE_COUNT);
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		const struct error_spec *spec = error_spec(rows[i].code);

		expect(!strcmp(spec->name, rows[i].name), "%s has the name %s", rows[i].name, spec->name);
		expect(spec->class == rows[i].class, "%s has class %d", rows[i].name, (int)spec->class);
		expect(spec->meaning[0], "%s has no meaning", rows[i].name);
		expect(error_parse(rows[i].name) == rows[i].code, "%s", rows[i].name);
	}
}

static void test_a_name_that_is_none_is_unknown(void **state)
{
	static const char *const names[] = { "", "rate_limit", "RATE_LIMITS", "RATE_LIMI", " TIMEOUT", NULL };

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(names); i++)
		expect(error_parse(names[i]) == ERROR_UNKNOWN, "%s", names[i] ? names[i] : "NULL");
	assert_string_equal(error_spec(ERROR_CODE_COUNT)->name, "UNKNOWN");
	assert_string_equal(error_spec((enum error_code) - 1)->name, "UNKNOWN");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_each_code_has_its_name_and_class),
		cmocka_unit_test(test_a_name_that_is_none_is_unknown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
