/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/lib/registry.h"

#include <dirent.h>
#include <errno.h>
#include <jansson.h>
#include <microhttpd.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "ctrl/base/cleanup.h"
#include "ctrl/base/util.h"
#include "runtimes/image/oci.h"

#define PREFIX "/v2/test/image/"
#define STORE  "/store/"
#define FILES  "/files/"
#define LARGE  4096
#define PIECE  65536
#define USER   "weft"
#define SECRET "se:cret"

typedef enum MHD_Result reply_t;

static const char *root, *scheme;
static struct test_registry *self;
static struct test_registry_control *control;

#define COUNT(field) __atomic_add_fetch(&control->field, 1, __ATOMIC_SEQ_CST)

static void check(bool ok, const char *what)
{
	if (ok)
		return;
	fprintf(stderr, "test registry: %s failed\n", what);
	abort();
}

/* --- content -------------------------------------------------------------------------------------
 */

/* In whichever tag's layout it is. */
static char *find_blob(const char *digest)
{
	_cleanup_(closedirp) DIR *dir = opendir(root);
	struct dirent *e;

	while (dir && weft_oci_digest_valid(digest) && (e = readdir(dir))) {
		char *path = weft_strf("%s/%s/blobs/sha256/%s", root, e->d_name, digest + 7);

		if (path && access(path, R_OK) == 0)
			return path;
		free(path);
	}
	return NULL;
}

/* Returns the path; *type is a static text. */
static char *find_manifest(const char *which, const char **type)
{
	_cleanup_(freep) char *index = weft_strf("%s/%s/index.json", root, which);
	json_auto_t *o = NULL;
	const json_t *list;
	size_t n;

	*type = "application/vnd.oci.image.manifest.v1+json";
	if (strncmp(which, "sha256:", 7) == 0)
		return find_blob(which);
	if (access(index, R_OK) < 0)
		return NULL;
	if (strncmp(which, "multi", 5) == 0) {
		*type = "application/vnd.oci.image.index.v1+json; charset=utf-8";
		return TAKE_PTR(index);
	}
	o = json_load_file(index, 0, NULL);
	list = json_object_get(o, "manifests");
	n = json_array_size(list);
	return n ? find_blob(json_string_value(
			   json_object_get(json_array_get(list, n - 1), "digest")))
		 : NULL;
}

/* --- answers -------------------------------------------------------------------------------------
 */

static reply_t answer(struct MHD_Connection *c, unsigned status, const char *text,
	const char *header, const char *value)
{
	struct MHD_Response *r = MHD_create_response_from_buffer(
		strlen(text), (void *)(uintptr_t)text, MHD_RESPMEM_MUST_COPY);
	reply_t q;

	if (header)
		MHD_add_response_header(r, header, value);
	q = MHD_queue_response(c, status, r);
	MHD_destroy_response(r);
	return q;
}

static reply_t unauthorized(struct MHD_Connection *c)
{
	_cleanup_(freep) char *bearer =
		weft_strf("Bearer realm=\"%s://localhost:%u/token\",service=\"test registry\","
			  "scope=\"repository:test/image:pull\"",
			scheme, self->port);

	return answer(c, 401, "{}", "WWW-Authenticate",
		control->auth == REGISTRY_BASIC ? "Basic realm=\"test\"" : bearer);
}

/* Of a blob, from offset on. */
struct body {
	char *data;
	size_t size, offset;
	uint64_t cut; /* where it breaks off, UINT64_MAX: nowhere */
};

static ssize_t read_body(void *cls, uint64_t pos, char *buf, size_t max)
{
	struct body *b = cls;
	uint64_t at = b->offset + pos;

	if (control->too_long && at >= b->size) {
		memset(buf, 'x', max);
		return (ssize_t)max;
	}
	if (at >= b->cut)
		return control->ends_early ? MHD_CONTENT_READER_END_OF_STREAM
					   : MHD_CONTENT_READER_END_WITH_ERROR;
	if (at >= b->size)
		return MHD_CONTENT_READER_END_OF_STREAM;
	if (control->pace_us)
		usleep(control->pace_us);
	if (max > b->size - at)
		max = b->size - at;
	if (max > b->cut - at)
		max = b->cut - at;
	memcpy(buf, b->data + at, max);
	__atomic_add_fetch(&control->sent, max, __ATOMIC_SEQ_CST);
	return (ssize_t)max;
}

static void free_body(void *cls)
{
	struct body *b = cls;

	__atomic_sub_fetch(&control->at_once, 1, __ATOMIC_SEQ_CST);
	free(b->data);
	free(b);
}

/* "bytes=N-" */
static size_t asked_offset(struct MHD_Connection *c)
{
	const char *range = MHD_lookup_connection_value(c, MHD_HEADER_KIND, "Range");
	uint64_t n;
	char text[32];

	if (!range || strncmp(range, "bytes=", 6) != 0)
		return 0;
	COUNT(ranges);
	snprintf(text, sizeof(text), "%.*s", (int)strcspn(range + 6, "-"), range + 6);
	check(weft_parse_u64(text, 0, SIZE_MAX, &n) == 0, "range");
	return control->ignore_range ? 0 : n;
}

static void note_at_once(void)
{
	unsigned n = COUNT(at_once);

	if (n > control->most_at_once)
		control->most_at_once = n;
}

/* Takes b over. */
static reply_t send_body(struct MHD_Connection *c, struct body *b, size_t offset, const char *etag)
{
	_cleanup_(freep) char *range = NULL;
	struct MHD_Response *r;
	unsigned status = 200;
	size_t whole;
	reply_t q;

	b->offset = offset;
	b->cut = UINT64_MAX;
	if (control->cuts && b->size > LARGE) {
		control->cuts--;
		b->cut = b->offset + (b->size - b->offset) / 2;
	}
	if (control->wrong_layer && b->size > LARGE)
		b->data[b->size / 2] ^= 1;
	whole = b->size;
	if (control->short_ranges && b->offset > 0 && whole > b->offset + LARGE)
		b->size = b->offset + (whole - b->offset) / 2;
	if (b->offset > b->size) {
		free(b->data);
		free(b);
		return answer(c, 416, "{}", NULL, NULL);
	}
	note_at_once();
	r = MHD_create_response_from_callback(
		control->too_long || (control->ends_early && b->cut != UINT64_MAX)
			? MHD_SIZE_UNKNOWN
			: b->size - b->offset,
		PIECE, read_body, b, free_body);
	if (etag)
		MHD_add_response_header(r, "ETag", etag);
	else if (control->dated)
		MHD_add_response_header(r, "Last-Modified", "Fri, 02 Jan 2026 03:04:05 GMT");
	if (b->offset > 0 || control->parts_only) {
		status = 206;
		range = weft_strf(
			"bytes %zu-%zu/%zu", b->offset - control->wrong_range, b->size - 1, whole);
		MHD_add_response_header(r, "Content-Range", range);
	}
	q = MHD_queue_response(c, status, r);
	MHD_destroy_response(r);
	return q;
}

static reply_t send_blob(struct MHD_Connection *c, const char *digest)
{
	_cleanup_(freep) char *path = find_blob(digest);
	struct body *b = calloc(1, sizeof(*b));

	COUNT(blobs);
	if (!path || weft_read_file(path, 1 << 30, &b->data, &b->size) < 0) {
		free(b);
		return answer(c, 404, "{}", NULL, NULL);
	}
	return send_body(c, b, asked_offset(c), NULL);
}

static bool says(struct MHD_Connection *c, const char *header, const char *value)
{
	const char *v = MHD_lookup_connection_value(c, MHD_HEADER_KIND, header);

	return v && strcmp(v, value) == 0;
}

/* A plain file, as a web server has it. */
static reply_t send_file(struct MHD_Connection *c, const char *name)
{
	_cleanup_(freep) char *path = weft_strf("%s/files/%s", root, name);
	struct body *b = calloc(1, sizeof(*b));
	char digest[WEFT_OCI_DIGEST], etag[32];
	bool same;

	COUNT(files);
	if (strchr(name, '/') || weft_read_file(path, 1 << 30, &b->data, &b->size) < 0) {
		free(b);
		return answer(c, 404, "gone", NULL, NULL);
	}
	weft_oci_digest(b->data, b->size, digest);
	snprintf(etag, sizeof(etag), "\"%.16s\"", WEFT_OCI_HEX(digest));
	same = says(c, "If-None-Match", etag) && !control->dated;
	if (same || says(c, "If-Modified-Since", "Fri, 02 Jan 2026 03:04:05 GMT")) {
		free(b->data);
		free(b);
		return answer(c, 304, "", NULL, NULL);
	}
	same = control->dated || says(c, "If-Range", etag);
	return send_body(c, b, same ? asked_offset(c) : 0,
		control->dated || control->unmarked ? NULL : etag);
}

static reply_t redirect_blob(struct MHD_Connection *c, const char *digest)
{
	const char *to = control->redirect == REGISTRY_TO_HTTP ? "http" : scheme;
	_cleanup_(freep) char *url = NULL;

	if (control->redirect == REGISTRY_TO_NOWHERE)
		return answer(c, 307, "", NULL, NULL);
	if (control->redirect == REGISTRY_IN_CIRCLES)
		url = weft_strf(PREFIX "blobs/%s", digest); /* relative */
	else
		url = weft_strf(
			"%s://localhost:%u" STORE "%s?sig=a%%2Bb", to, self->store_port, digest);
	return answer(c, 307, "see there", "Location", url);
}

static ssize_t endless(void *cls, uint64_t pos, char *buf, size_t max)
{
	(void)cls;
	memset(buf, ' ', max);
	if (pos == 0)
		buf[0] = '{';
	return (ssize_t)max;
}

static reply_t send_manifest(struct MHD_Connection *c, const char *which)
{
	const char *type;
	_cleanup_(freep) char *path = find_manifest(which, &type), *text = NULL;
	struct MHD_Response *r;
	size_t size;
	reply_t q;

	COUNT(manifests);
	if (!path || weft_read_file(path, 1 << 24, &text, &size) < 0)
		return answer(c, 404, "{\"errors\":[]}", NULL, NULL);
	if (control->wrong_text && strncmp(which, "sha256:", 7) == 0)
		text[size - 1] = ' ';
	r = control->endless_text
		    ? MHD_create_response_from_callback(
			      MHD_SIZE_UNKNOWN, PIECE, endless, NULL, NULL)
		    : MHD_create_response_from_buffer(size, text, MHD_RESPMEM_MUST_COPY);
	MHD_add_response_header(r, "Content-Type", type);
	q = MHD_queue_response(c, 200, r);
	MHD_destroy_response(r);
	return q;
}

/* --- who asks ------------------------------------------------------------------------------------
 */

static bool has_password(struct MHD_Connection *c)
{
	char *password = NULL;
	char *user = MHD_basic_auth_get_username_password(c, &password);
	bool ok = user && password && strcmp(user, USER) == 0 && strcmp(password, SECRET) == 0;

	MHD_free(user);
	MHD_free(password);
	return ok;
}

static reply_t send_token(struct MHD_Connection *c)
{
	const char *scope = MHD_lookup_connection_value(c, MHD_GET_ARGUMENT_KIND, "scope");
	const char *service = MHD_lookup_connection_value(c, MHD_GET_ARGUMENT_KIND, "service");
	char text[64];

	snprintf(control->scope, sizeof(control->scope), "%s|%s", service ? service : "",
		scope ? scope : "");
	if (control->fail_tokens) {
		control->fail_tokens--;
		return answer(c, 503, "{}", NULL, NULL);
	}
	if (!has_password(c))
		return answer(c, 401, "{}", NULL, NULL);
	if (control->no_token)
		return answer(c, 200, "{\"token\":\"\"}", NULL, NULL);
	snprintf(text, sizeof(text), "{\"expires_in\":60,\"access_token\":\"t%u\"}", COUNT(tokens));
	return answer(c, 200, text, "Content-Type", "application/json");
}

/* The token must be the last one given out, and not be used up. */
static bool has_token(const char *authorization)
{
	static unsigned of, used;
	char want[32];

	snprintf(want, sizeof(want), "Bearer t%u", control->tokens);
	if (!authorization || control->tokens == 0 || strcmp(authorization, want) != 0)
		return false;
	if (of != control->tokens)
		used = 0;
	of = control->tokens;
	return !control->token_uses || used++ < control->token_uses;
}

static bool is_allowed(struct MHD_Connection *c)
{
	const char *a = MHD_lookup_connection_value(c, MHD_HEADER_KIND, "Authorization");

	snprintf(control->authorization, sizeof(control->authorization), "%.*s",
		a ? (int)strcspn(a, " ") : 0, a ? a : "");
	switch (control->auth) {
	case REGISTRY_BASIC:
		return has_password(c);
	case REGISTRY_BEARER:
		return has_token(a);
	default:
		return true;
	}
}

static reply_t on_store(struct MHD_Connection *c, const char *url)
{
	const char *a = MHD_lookup_connection_value(c, MHD_HEADER_KIND, "Authorization");
	const char *sig = MHD_lookup_connection_value(c, MHD_GET_ARGUMENT_KIND, "sig");

	if (a)
		snprintf(control->stray, sizeof(control->stray), "%s", a);
	if (!sig || strcmp(sig, "a+b") != 0)
		return answer(c, 403, "bad signature", NULL, NULL);
	return send_blob(c, url + strlen(STORE));
}

static reply_t on_request(void *cls, struct MHD_Connection *c, const char *url, const char *method,
	const char *version, const char *data, size_t *size, void **state)
{
	char after[16];

	(void)cls, (void)version, (void)data, (void)size;
	if (!*state) {
		*state = control;
		return MHD_YES;
	}
	COUNT(requests);
	while (control->hang)
		usleep(10000);
	if (strcmp(method, "GET") != 0)
		return answer(c, 405, "", NULL, NULL);
	if (strcmp(url, "/token") == 0)
		return send_token(c);
	if (strncmp(url, STORE, strlen(STORE)) == 0)
		return on_store(c, url);
	if (control->fail) {
		control->fail--;
		snprintf(after, sizeof(after), "%u", control->retry_after);
		return answer(c, control->fail_status, "{}",
			control->retry_after ? "Retry-After" : NULL, after);
	}
	if (!is_allowed(c))
		return unauthorized(c);
	if (strncmp(url, FILES, strlen(FILES)) == 0)
		return send_file(c, url + strlen(FILES));
	if (strncmp(url, PREFIX "manifests/", strlen(PREFIX) + 10) == 0)
		return send_manifest(c, url + strlen(PREFIX) + 10);
	if (strncmp(url, PREFIX "blobs/", strlen(PREFIX) + 6) != 0)
		return answer(c, 404, "{}", NULL, NULL);
	url += strlen(PREFIX) + 6;
	return control->redirect ? redirect_blob(c, url) : send_blob(c, url);
}

/* --- process -------------------------------------------------------------------------------------
 */

static uint16_t serve(const char *key, const char *cert)
{
	const unsigned flags = MHD_USE_INTERNAL_POLLING_THREAD | MHD_USE_THREAD_PER_CONNECTION;
	const union MHD_DaemonInfo *info;
	struct MHD_Daemon *d;

	if (key)
		d = MHD_start_daemon(flags | MHD_USE_TLS, 0, NULL, NULL, on_request, NULL,
			MHD_OPTION_HTTPS_MEM_KEY, key, MHD_OPTION_HTTPS_MEM_CERT, cert,
			MHD_OPTION_END);
	else
		d = MHD_start_daemon(flags, 0, NULL, NULL, on_request, NULL, MHD_OPTION_END);
	check(d != NULL, "MHD_start_daemon");
	info = MHD_get_daemon_info(d, MHD_DAEMON_INFO_BIND_PORT);
	check(info != NULL, "port");
	return info->port;
}

static void __attribute__((noreturn))
child(const char *dir, const char *tls_dir, struct test_registry *shared, pid_t parent)
{
	_cleanup_(freep) char *key = NULL, *cert = NULL, *path = NULL;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (getppid() != parent)
		_exit(1);
	signal(SIGPIPE, SIG_IGN);
	root = dir;
	scheme = tls_dir ? "https" : "http";
	self = shared;
	if (tls_dir) {
		path = weft_strf("%s/server.key", tls_dir);
		check(weft_read_file(path, 65536, &key, NULL) == 0, path);
		free(path);
		path = weft_strf("%s/server.pem", tls_dir);
		check(weft_read_file(path, 65536, &cert, NULL) == 0, path);
	}
	shared->store_port = serve(key, cert);
	__atomic_store_n(&shared->port, serve(key, cert), __ATOMIC_SEQ_CST);
	for (;;)
		pause();
}

void test_registry_start(struct test_registry *r, const char *dir, const char *tls_dir)
{
	uint64_t end = weft_now_ns() + 20000000000ULL;
	struct {
		struct test_registry_control c;
		struct test_registry r;
	} *shared = mmap(
		NULL, sizeof(*shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	pid_t parent = getpid();

	check(shared != MAP_FAILED, "mmap");
	control = &shared->c;
	fflush(NULL);
	r->pid = fork();
	check(r->pid >= 0, "fork");
	if (r->pid == 0)
		child(dir, tls_dir, &shared->r, parent);
	while (__atomic_load_n(&shared->r.port, __ATOMIC_SEQ_CST) == 0) {
		check(weft_now_ns() < end && waitpid(r->pid, NULL, WNOHANG) == 0, "start");
		usleep(2000);
	}
	r->port = shared->r.port;
	r->store_port = shared->r.store_port;
	r->c = &shared->c;
}

void test_registry_stop(struct test_registry *r)
{
	if (r->pid <= 0)
		return;
	kill(r->pid, SIGKILL);
	waitpid(r->pid, NULL, 0);
	r->pid = 0;
}

void test_registry_reset(struct test_registry *r)
{
	r->c->hang = false;
	memset(r->c, 0, sizeof(*r->c));
}
