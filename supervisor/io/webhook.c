#include "io/webhook.h"

#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <string.h>

#include "base/buf.h"
#include "base/mem.h"
#include "io/jsontext.h"

char *webhook_signature(const char *secret, int64_t at_s, const char *body)
{
	AUTO(mem_free_str) char *signed_text = mem_printf("%lld.%s", (long long)at_s, body);
	AUTO(buf_free) struct buf hex = BUF_INIT(0);
	unsigned char digest[EVP_MAX_MD_SIZE];
	unsigned len = 0;

	if (!HMAC(EVP_sha256(), secret, (int)strlen(secret), (const unsigned char *)signed_text,
		  strlen(signed_text), digest, &len))
		return NULL;
	for (unsigned i = 0; i < len; i++)
		buf_putf(&hex, "%02x", digest[i]);
	return mem_printf("X-Proctor-Signature: t=%lld,v1=%s", (long long)at_s, buf_bytes(&hex));
}

char *webhook_slack(const char *text)
{
	AUTO(buf_free) struct buf escaped = BUF_INIT(0);

	for (; *text; text++) {
		const char *entity = *text == '&'   ? "&amp;"
				     : *text == '<' ? "&lt;"
				     : *text == '>' ? "&gt;"
						    : NULL;

		if (entity)
			buf_puts(&escaped, entity);
		else
			buf_put(&escaped, text, 1);
	}
	return jsontext_pack("{s:s}", "text", buf_bytes(&escaped));
}
