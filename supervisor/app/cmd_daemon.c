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
			   "to say which program is run needs the role admin: try it with sudo, or let "
			   "[control] admin in proctor.ini name you; without PATH it is the one that the "
			   "daemon was started from");
	else
		upgrade_begin(call_daemon(call), path, call);
}

/* Those that differ from the level of all. */
static json_t *other_levels(void)
{
	json_t *others = json_object();

	for (size_t i = 0; log_subsystems[i]; i++) {
		enum log_level level;

		if (log_get_subsystem_level(log_subsystems[i], &level) == 0 && level != log_get_level())
			(void)json_object_set_new(others, log_subsystems[i],
						  json_string(log_level_name(level)));
	}
	return others;
}

void cmd_log_level(struct call *call, const json_t *args)
{
	const char *name = arg_text(args, "level");
	const char *subsystem = arg_text(args, "subsystem");
	enum log_level before = log_get_level(), level;

	if (subsystem && log_get_subsystem_level(subsystem, &before) < 0) {
		call_error(call, CALL_BAD_ARGUMENT,
			   "subsystem: there is no \"%.60s\"; it is the first word of an event, such as "
			   "store of store.down",
			   subsystem);
		return;
	}
	level = before;
	if (name && log_level_parse(name, &level)) {
		if (!subsystem)
			log_set_level(level);
		else
			(void)!log_set_subsystem_level(subsystem, level);
		log_info("log.level", "subsystem=%s from=%s to=%s", subsystem ? subsystem : "all",
			 log_level_name(before), log_level_name(level));
	}
	call_ok_json(call, json_pack("{s:s, s:s, s:o}", "level", log_level_name(level), "before",
				     log_level_name(before), "subsystems", other_levels()));
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
