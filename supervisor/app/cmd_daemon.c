/* reload, upgrade, log-level, shutdown, version. */

#include <string.h>

#include "app/cmd.h"
#include "app/daemon.h"
#include "app/upgrade.h"
#include "base/log.h"
#include "base/mem.h"

void cmd_reload(struct call *call, const json_t *args)
{
	AUTO(mem_free_str) char *text = NULL;

	(void)args;
	if (daemon_reload(call_daemon(call), &text) < 0)
		call_error(call, CALL_BAD_ARGUMENT, "not reloaded, nothing has changed: %s", text);
	else
		call_ok_raw(call, text, strlen(text));
}

void cmd_upgrade(struct call *call, const json_t *args)
{
	const char *path = arg_text(args, "program");

	/* It would run as the daemon, and with all its keys. */
	if (path && call_role(call) < COMMAND_ADMIN)
		call_error(call, CALL_FORBIDDEN,
			   "which program is run is for root and the daemon's own user to say; without PATH "
			   "it is "
			   "the one that the daemon was started from");
	else
		upgrade_begin(call_daemon(call), path, call);
}

void cmd_log_level(struct call *call, const json_t *args)
{
	const char *name = arg_text(args, "level");
	enum log_level before = log_get_level();
	enum log_level level = before;

	if (name && log_level_parse(name, &level)) {
		log_set_level(level);
		log_info("log.level", "from=%s to=%s", log_level_name(before), log_level_name(level));
	}
	call_ok_json(call, json_pack("{s:s, s:s}", "level", log_level_name(level), "before",
				     log_level_name(before)));
}

void cmd_shutdown(struct call *call, const json_t *args)
{
	struct daemon *daemon = call_daemon(call);

	(void)args;
	call_ok_json(call, json_pack("{s:b}", "stopping", true));
	daemon_shutdown(daemon);
}

void cmd_version(struct call *call, const json_t *args)
{
	(void)args;
	call_ok_json(call, json_pack("{s:s, s:i}", "version", PROCTOR_VERSION, "protocol", 1));
}
