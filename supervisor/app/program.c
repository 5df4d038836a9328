#include "app/program.h"

#include <errno.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "app/daemon.h"
#include "base/mem.h"
#include "config/config.h"
#include "config/keyfile.h"
#include "io/db.h"

#define PYTHON "/usr/bin/python3"

/* A NULL-terminated list of texts that grows. */
struct words {
	char **at;
	size_t len;
};

struct pool_words {
	struct words argv, fork_argv, env;
};

struct program {
	struct words worker_env; /* of every pool, before its own additions */
	struct words plain_env, health_argv;
	struct words own_env; /* the daemon's alone: what webhooks want, which no child is to see */
	struct pool_words *pools;
	struct words *service_env;
	size_t pool_count, service_count;
	char *database_url;
};

/* What no child is to see. */
static const char *const private_variables[] = {
	"DATABASE_URL", "PGPASSWORD", "PGPASSFILE",	"WATCHDOG_USEC",	 "WATCHDOG_PID",
	"LISTEN_FDS",	"LISTEN_PID", "JOURNAL_STREAM", "CREDENTIALS_DIRECTORY",
};

static void words_add(struct words *words, char *text)
{
	words->at = mem_resize(words->at, words->len + 2, sizeof(*words->at));
	words->at[words->len++] = text;
	words->at[words->len] = NULL;
}

static void words_free(struct words *words)
{
	for (size_t i = 0; i < words->len; i++) {
		explicit_bzero(words->at[i], strlen(words->at[i]));
		free(words->at[i]);
	}
	free(words->at);
	*words = (struct words){ 0 };
}

static bool names(const char *assignment, const char *name)
{
	size_t len = strlen(name);

	return strncmp(assignment, name, len) == 0 && assignment[len] == '=';
}

static const char *env_get(const struct words *env, const char *name)
{
	for (size_t i = 0; i < env->len; i++)
		if (names(env->at[i], name))
			return env->at[i] + strlen(name) + 1;
	return NULL;
}

static void env_set(struct words *env, const char *name, const char *value)
{
	char *assignment = mem_printf("%s=%s", name, value);

	for (size_t i = 0; i < env->len; i++)
		if (names(env->at[i], name)) {
			mem_set_str(&env->at[i], assignment);
			return;
		}
	words_add(env, assignment);
}

static bool is_private(const char *assignment)
{
	for (size_t i = 0; i < ARRAY_LEN(private_variables); i++)
		if (names(assignment, private_variables[i]))
			return true;
	return false;
}

static bool is_key(const struct config *config, const char *assignment)
{
	for (size_t i = 0; i < CONFIG_PROVIDERS; i++)
		if (config->providers[i].key_env[0] && names(assignment, config->providers[i].key_env))
			return true;
	return false;
}

static bool is_of_webhooks(const struct config *config, const char *assignment)
{
	for (size_t i = 0; i < config->nalerts; i++)
		if (names(assignment, config->alerts[i].url_env) ||
		    names(assignment, config->alerts[i].secret_env))
			return !is_key(config, assignment);
	return false;
}

static void inherit(struct program *program, const struct config *config)
{
	for (char **at = environ; *at; at++) {
		if (is_private(*at))
			continue;
		if (is_of_webhooks(config, *at)) {
			words_add(&program->own_env, mem_strdup(*at));
			continue;
		}
		words_add(&program->worker_env, mem_strdup(*at));
		if (!is_key(config, *at))
			words_add(&program->plain_env, mem_strdup(*at));
	}
}

struct key_reader {
	struct program *program;
	const struct config *config;
};

static void on_key(void *arg, const char *variable, const char *value, int line)
{
	struct program *program = ((struct key_reader *)arg)->program;
	AUTO(mem_free_str) char *named = mem_printf("%s=", variable);

	(void)line;
	if (strcmp(variable, "DATABASE_URL") == 0)
		mem_set_str(&program->database_url, mem_strdup(value));
	else if (is_of_webhooks(((struct key_reader *)arg)->config, named))
		env_set(&program->own_env, variable, value);
	else
		env_set(&program->worker_env, variable, value);
}

/* What differs from the providers' own: the worker knows the rest. */
static char *providers_json(const struct config *config)
{
	json_t *all = json_object();
	char *text;

	for (size_t i = 0; i < CONFIG_PROVIDERS; i++) {
		const struct config_provider *provider = &config->providers[i];
		json_t *one;

		if (!provider->key_env[0])
			continue;
		one = json_object();
		(void)json_object_set_new(one, "key_env", json_string(provider->key_env));
		if (provider->base_url[0])
			(void)json_object_set_new(one, "base_url", json_string(provider->base_url));
		(void)json_object_set_new(all, provider->name, one);
	}
	text = json_dumps(all, JSON_COMPACT);
	json_decref(all);
	return text ? text : mem_strdup("{}");
}

static void add_list(struct words *env, const struct config_list *list)
{
	for (size_t i = 0; i < list->len; i++) {
		const char *equals = strchr(list->words[i], '=');
		AUTO(mem_free_str)
		char *name = mem_strndup(list->words[i], (size_t)(equals - list->words[i]));

		env_set(env, name, equals + 1);
	}
}

static void words_copy(struct words *words, const char *const *from, size_t len)
{
	for (size_t i = 0; i < len; i++)
		words_add(words, mem_strdup(from[i]));
}

static void build_workers(struct program *program, const struct config *config, const struct paths *paths)
{
	AUTO(mem_free_str) char *providers = providers_json(config);

	env_set(&program->worker_env, "PROCTOR_PROVIDERS", providers);
	env_set(&program->worker_env, "PROCTOR_MODELS", paths->models);
	words_add(&program->health_argv, mem_strdup(PYTHON));
	words_add(&program->health_argv, mem_printf("%s/workers/health_check.py", paths->home));
}

static void add_python(struct words *argv, const struct paths *paths, const char *mode)
{
	words_add(argv, mem_strdup(PYTHON));
	words_add(argv, mem_printf("%s/workers/probe.py", paths->home));
	words_add(argv, mem_strdup(mode));
}

static void build_pools(struct program *program, const struct config *config, const struct paths *paths)
{
	program->pool_count = config->npools;
	program->pools = mem_array(config->npools, sizeof(*program->pools));
	for (size_t i = 0; i < config->npools; i++) {
		const struct config_pool *pool = &config->pools[i];
		struct pool_words *words = &program->pools[i];
		AUTO(mem_free_str) char *capacity = mem_printf("%d", pool->capacity);

		words_copy(&words->env, (const char *const *)program->worker_env.at, program->worker_env.len);
		env_set(&words->env, "PROCTOR_CAPACITY", capacity);
		add_list(&words->env, &pool->environment);
		if (pool->command.len > 0) {
			words_copy(&words->argv, (const char *const *)pool->command.words, pool->command.len);
			continue;
		}
		add_python(&words->argv, paths, "--serve");
		add_python(&words->fork_argv, paths, "--forkserver");
	}
}

static void build_services(struct program *program, const struct config *config)
{
	program->service_count = config->nservices;
	program->service_env = mem_array(config->nservices, sizeof(*program->service_env));
	for (size_t i = 0; i < config->nservices; i++) {
		words_copy(&program->service_env[i], (const char *const *)program->plain_env.at,
			   program->plain_env.len);
		add_list(&program->service_env[i], &config->services[i].environment);
	}
}

/* The ini gives the key, be it at its default. */
static void on_item(void *arg, const struct config_item *item)
{
	int *line = arg;

	if (strcmp(item->section, "database") == 0 && strcmp(item->key, "url") == 0)
		*line = item->line;
}

static int choose_database(struct program *program, const struct config *config, char **ret_error)
{
	const char *from_env = getenv("DATABASE_URL");
	AUTO(mem_free_str) char *where = NULL;
	int line = 0;

	config_walk(config, on_item, &line);
	if (line > 0)
		mem_set_str(&program->database_url, mem_strdup(config->database.url));
	else if (!program->database_url)
		program->database_url = mem_strdup(from_env && *from_env ? from_env : config->database.url);
	if (strcmp(program->database_url, "embedded") == 0 || db_url_is_valid(program->database_url))
		return 0;
	where = line > 0 ? mem_printf("%s:%d: [database] url", config->path, line)
			 : mem_strdup("DATABASE_URL");
	*ret_error = mem_printf(
		"%s: libpq cannot read it; allowed is postgresql://USER@HOST/DATABASE with known "
		"parameters, or a connection string",
		where);
	return -EINVAL;
}

/* The file that the configuration names, else the credential keys.env that the service manager has loaded;
 * NULL = none. What lies among credentials is for us alone, though an access list may look like a group that
 * can read it. Fresh. */
static char *key_file_of(const struct config *config, bool *ret_guarded)
{
	const char *credentials = getenv("CREDENTIALS_DIRECTORY");
	size_t len = credentials ? strlen(credentials) : 0;
	AUTO(mem_free_str) char *loaded = len > 0 ? mem_printf("%s/keys.env", credentials) : NULL;
	const char *named = config->daemon.key_file;

	*ret_guarded = len > 0 && (!*named || (strncmp(named, credentials, len) == 0 && named[len] == '/'));
	if (*named)
		return mem_strdup(named);
	return loaded && access(loaded, F_OK) == 0 ? mem_strdup(loaded) : NULL;
}

int program_new(const struct config *config, const struct paths *paths, struct program **ret,
		char **ret_error)
{
	struct program *program = mem_alloc(sizeof(*program));
	AUTO(mem_free_str) char *path = NULL;
	bool guarded;
	int r = 0;

	inherit(program, config);
	path = key_file_of(config, &guarded);
	if (path)
		r = keyfile_read(path, guarded, on_key, &(struct key_reader){ program, config }, ret_error);
	if (r == 0)
		r = choose_database(program, config, ret_error);
	if (r < 0) {
		program_free(&program);
		return r;
	}
	build_workers(program, config, paths);
	build_pools(program, config, paths);
	build_services(program, config);
	*ret = program;
	return 0;
}

void program_free(struct program **program)
{
	struct program *dead = *program;

	if (!dead)
		return;
	words_free(&dead->worker_env);
	words_free(&dead->plain_env);
	words_free(&dead->own_env);
	words_free(&dead->health_argv);
	for (size_t i = 0; i < dead->pool_count; i++) {
		words_free(&dead->pools[i].argv);
		words_free(&dead->pools[i].fork_argv);
		words_free(&dead->pools[i].env);
	}
	for (size_t i = 0; i < dead->service_count; i++)
		words_free(&dead->service_env[i]);
	free(dead->pools);
	free(dead->service_env);
	free(dead->database_url);
	mem_free(program);
}

static const char *const *list_of(const struct words *words)
{
	static const char *const none[] = { NULL };

	return words->at ? (const char *const *)words->at : none;
}

struct program_pool program_pool(const struct program *program, size_t index)
{
	const struct pool_words *words = &program->pools[index];

	return (struct program_pool){
		.argv = list_of(&words->argv),
		.env = list_of(&words->env),
		.fork_argv = words->fork_argv.len ? list_of(&words->fork_argv) : NULL,
	};
}

const char *const *program_service_env(const struct program *program, size_t index)
{
	return list_of(&program->service_env[index]);
}

const char *const *program_plain_env(const struct program *program)
{
	return list_of(&program->plain_env);
}

const char *const *program_health_argv(const struct program *program)
{
	return list_of(&program->health_argv);
}

const char *const *program_health_env(const struct program *program)
{
	return list_of(&program->pools[0].env);
}

const char *program_variable(const struct program *program, const char *name)
{
	const char *value = env_get(&program->worker_env, name);

	if (!value)
		value = env_get(&program->own_env, name);
	return value && *value ? value : NULL;
}

const char *program_database_url(const struct program *program)
{
	return program->database_url;
}
