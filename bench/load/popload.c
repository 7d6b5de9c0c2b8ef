/*
 * A POP3 client that asks a lot: many sessions at a time, in one process, and looks at every octet that comes back.
 *
 * Prints one JSON line. See usage().
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <getopt.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "check.h"

enum mode { SESSION, PIPELINED, POLL, IDLE };
enum tls { NONE, FULL, RESUME };

enum { RECEIVE = 256 * 1024, LINE = 512, COMMANDS = 4096, FAULTS = 8, AT_THE_DOOR = 50 };

static const char *const FAULT_NAMES[FAULTS] = {
	"connect", "tls", "closed", "refused", "octets", "line_ends", "stuffing", "content",
};
enum fault { CONNECT, TLS, CLOSED, REFUSED, OCTETS, LINE_ENDS, STUFFING, CONTENT };

static struct {
	int port, users, sources, retr;
	long sessions;
	int concurrency;
	double seconds;
	const char *user, *password;
	enum mode mode;
	enum tls tls;
} options = {
	.users = 1, .sources = 1, .retr = 5, .sessions = 1, .concurrency = 1, .seconds = 60,
	.user = "user%d", .password = "secret", .mode = SESSION, .tls = NONE,
};

struct reply {
	int multi;	/* a list or a message follows a +OK */
	int message;	/* 1-based; 0 for a list */
};

struct session {
	int fd;
	int user;
	SSL *ssl;
	int connected;
	int asked, answered;		/* commands sent, replies complete, the greeting among these */
	int in_body;
	struct body body;
	long told;			/* octets that +OK has announced; -1 = none */
	char line[LINE];
	size_t length;
	char *unsent;
	size_t left;
	double begun;
	int waits_for_write;
};

static int epoll;
static SSL_CTX *context;
static SSL_SESSION **tickets;
static uint32_t *crcs;
static char *seen;
static double *latencies;
static long started, ended, good, opened, resumed, faults[FAULTS];
static uint64_t received;
static double began, give_up;
static unsigned char buffer[RECEIVE];
static volatile sig_atomic_t stopping;

static double now(void)
{
	struct timespec time;

	clock_gettime(CLOCK_MONOTONIC, &time);
	return (double)time.tv_sec + (double)time.tv_nsec / 1e9;
}

static void die(const char *what)
{
	perror(what);
	exit(1);
}

/* --- what is said, and what comes back */

static int commands(void)
{
	switch (options.mode) {
	case POLL:
		return 4;
	case IDLE:
		return 2;
	default:
		return 5 + options.retr;
	}
}

static int command(const struct session *session, int number, char *to, size_t room)
{
	char name[128];
	int last = commands() - 1;

	if (number == 0) {
		snprintf(name, sizeof name, options.user, session->user);
		return snprintf(to, room, "USER %s\r\n", name);
	}
	if (number == 1)
		return snprintf(to, room, "PASS %s\r\n", options.password);
	if (number == last && options.mode != IDLE)
		return snprintf(to, room, "QUIT\r\n");
	if (number == 2)
		return snprintf(to, room, "STAT\r\n");
	if (number == 3)
		return snprintf(to, room, "UIDL\r\n");
	return snprintf(to, room, "RETR %d\r\n", number - 3);
}

static struct reply expected(int number)
{
	struct reply reply = { 0, 0 };

	if (options.mode == POLL || options.mode == IDLE || number < 3 || number == commands() - 1)
		return reply;
	reply.multi = 1;
	reply.message = number - 3;
	return reply;
}

static void watch(struct session *session, int write)
{
	struct epoll_event event = { .events = EPOLLIN | (write ? EPOLLOUT : 0), .data.ptr = session };

	if (session->waits_for_write != write && epoll_ctl(epoll, EPOLL_CTL_MOD, session->fd, &event) < 0)
		die("epoll_ctl");
	session->waits_for_write = write;
}

/* 0 = go on, -1 = the connection is gone. */
static int flush(struct session *session)
{
	while (session->left) {
		ssize_t count;

		if (session->ssl) {
			int result = SSL_write(session->ssl, session->unsent, (int)session->left);
			if (result <= 0) {
				int error = SSL_get_error(session->ssl, result);
				if (error == SSL_ERROR_WANT_WRITE || error == SSL_ERROR_WANT_READ) {
					watch(session, error == SSL_ERROR_WANT_WRITE);
					return 0;
				}
				return -1;
			}
			count = result;
		} else {
			count = send(session->fd, session->unsent, session->left, MSG_NOSIGNAL);
			if (count < 0) {
				if (errno == EAGAIN) {
					watch(session, 1);
					return 0;
				}
				return -1;
			}
		}
		session->unsent += count;
		session->left -= (size_t)count;
	}
	watch(session, 0);
	return 0;
}

static int say(struct session *session)
{
	/* One buffer will do: nothing is said before what was said earlier has left. */
	static char text[COMMANDS];
	size_t length = 0;
	int until = session->asked + 1;

	if (options.mode == PIPELINED && session->asked == 2)
		until = commands();
	while (session->asked < until) {
		length += (size_t)command(session, session->asked, text + length, sizeof text - length);
		session->asked++;
	}
	if (session->left)
		return 0;
	session->unsent = text;
	session->left = length;
	int result = flush(session);
	if (session->left) {
		/* A socket that takes no command line is not worth waiting for. */
		return -1;
	}
	return result;
}

static void check_message(struct session *session, int message)
{
	const struct body *body = &session->body;
	size_t place = (size_t)session->user * (size_t)options.retr + (size_t)message - 1;

	if (body->bare_lf)
		faults[LINE_ENDS]++;
	if (body->unstuffed)
		faults[STUFFING]++;
	if (session->told >= 0 && (uint64_t)session->told != body->octets)
		faults[OCTETS]++;
	if (seen[place] && crcs[place] != body->crc)
		faults[CONTENT]++;
	seen[place] = 1;
	crcs[place] = body->crc;
}

/* 0 = go on, 1 = the session is over, -1 = it has failed. */
static int replied(struct session *session)
{
	session->answered++;
	if (session->answered == commands() + 1) {
		if (options.mode != IDLE)
			return 1;
	}
	if (options.mode == IDLE && session->answered == 3) {
		opened++;
		return 0;
	}
	if (session->asked < session->answered && session->asked < commands())
		return say(session);
	return 0;
}

static int line(struct session *session)
{
	/* The greeting is the reply to command -1. */
	int number = session->answered - 1;
	struct reply reply = { 0, 0 };

	if (number >= 0)
		reply = expected(number);
	session->line[session->length] = 0;
	if (strncmp(session->line, "+OK", 3) != 0) {
		faults[REFUSED]++;
		return -1;
	}
	if (session->length < 2 || session->line[session->length - 2] != '\r')
		faults[LINE_ENDS]++;
	if (reply.multi) {
		session->in_body = 1;
		session->told = -1;
		if (reply.message && sscanf(session->line, "+OK %ld octets", &session->told) != 1)
			session->told = -1;
		body_begin(&session->body);
		session->length = 0;
		return 0;
	}
	session->length = 0;
	return replied(session);
}

static int take(struct session *session, const unsigned char *octets, size_t count)
{
	received += count;
	while (count) {
		if (session->in_body) {
			size_t used = body_feed(&session->body, octets, count);
			octets += used;
			count -= used;
			if (session->body.ended) {
				struct reply reply = expected(session->answered - 1);
				session->in_body = 0;
				if (reply.message)
					check_message(session, reply.message);
				int result = replied(session);
				if (result)
					return result;
			}
			continue;
		}
		unsigned char octet = *octets++;
		count--;
		if (session->length + 1 >= LINE) {
			faults[OCTETS]++;
			return -1;
		}
		session->line[session->length++] = (char)octet;
		if (octet == '\n') {
			int result = line(session);
			if (result)
				return result;
		}
	}
	return 0;
}

/* --- connections */

static int keep_ticket(SSL *ssl, SSL_SESSION *ticket)
{
	struct session *session = SSL_get_app_data(ssl);

	if (tickets[session->user])
		SSL_SESSION_free(tickets[session->user]);
	tickets[session->user] = ticket;
	return 1;
}

static void begin(struct session *session, long number)
{
	struct sockaddr_in server = { .sin_family = AF_INET, .sin_port = htons((uint16_t)options.port) };
	struct sockaddr_in source = { .sin_family = AF_INET };
	struct epoll_event event = { .events = EPOLLIN | EPOLLOUT, .data.ptr = session };
	int on = 1;

	memset(session, 0, sizeof *session);
	session->user = (int)(number % options.users);
	session->begun = now();
	session->waits_for_write = 1;
	server.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	session->fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (session->fd < 0)
		die("socket");
	setsockopt(session->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
	setsockopt(session->fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &on, sizeof on);
	if (options.sources > 1) {
		/* 127.1.0.1 and on: each a /24 apart, which nobody takes for one client. */
		source.sin_addr.s_addr = htonl(0x7f010001u + 256u * (uint32_t)(number % options.sources));
		if (bind(session->fd, (struct sockaddr *)&source, sizeof source) < 0)
			die("bind");
	}
	if (connect(session->fd, (struct sockaddr *)&server, sizeof server) < 0 && errno != EINPROGRESS) {
		close(session->fd);
		session->fd = -1;
		faults[CONNECT]++;
		ended++;
		return;
	}
	if (context) {
		session->ssl = SSL_new(context);
		SSL_set_app_data(session->ssl, session);
		SSL_set_fd(session->ssl, session->fd);
		SSL_set_connect_state(session->ssl);
		if (options.tls == RESUME && tickets[session->user])
			SSL_set_session(session->ssl, tickets[session->user]);
	}
	if (epoll_ctl(epoll, EPOLL_CTL_ADD, session->fd, &event) < 0)
		die("epoll_ctl");
}

/* `fault` is -1 for none, and for one that has been counted. */
static void finish(struct session *session, int fault)
{
	if (fault >= 0)
		faults[fault]++;
	if (session->ssl) {
		if (fault < 0) {
			if (SSL_session_reused(session->ssl))
				resumed++;
			SSL_shutdown(session->ssl);
		}
		SSL_free(session->ssl);
	}
	close(session->fd);
	session->fd = -1;
	session->ssl = NULL;
	ended++;
}

static void complete(struct session *session)
{
	latencies[good++] = now() - session->begun;
	finish(session, -1);
}

/* 0 = go on, -1 = over. */
static int connected(struct session *session)
{
	int error = 0;
	socklen_t size = sizeof error;

	if (!session->connected) {
		getsockopt(session->fd, SOL_SOCKET, SO_ERROR, &error, &size);
		if (error) {
			finish(session, CONNECT);
			return -1;
		}
		session->connected = 1;
		watch(session, 0);
	}
	if (session->ssl && !SSL_is_init_finished(session->ssl)) {
		int result = SSL_do_handshake(session->ssl);
		if (result != 1) {
			error = SSL_get_error(session->ssl, result);
			if (error != SSL_ERROR_WANT_READ && error != SSL_ERROR_WANT_WRITE) {
				finish(session, TLS);
				return -1;
			}
			watch(session, error == SSL_ERROR_WANT_WRITE);
			return -1;
		}
		watch(session, 0);
	}
	return 0;
}

static void ready(struct session *session)
{
	for (;;) {
		ssize_t count;

		if (session->ssl) {
			ERR_clear_error();
			int result = SSL_read(session->ssl, buffer, sizeof buffer);
			if (result <= 0) {
				int error = SSL_get_error(session->ssl, result);
				if (error == SSL_ERROR_WANT_READ || error == SSL_ERROR_WANT_WRITE)
					return;
				finish(session, CLOSED);
				return;
			}
			count = result;
		} else {
			count = recv(session->fd, buffer, sizeof buffer, 0);
			if (count < 0 && errno == EAGAIN)
				return;
			if (count <= 0) {
				finish(session, CLOSED);
				return;
			}
		}
		int result = take(session, buffer, (size_t)count);
		if (result > 0) {
			complete(session);
			return;
		}
		if (result < 0) {
			finish(session, -1);
			return;
		}
		if (!session->ssl && (size_t)count < sizeof buffer)
			return;
	}
}

/* --- the whole */

static int by_value(const void *left, const void *right)
{
	double a = *(const double *)left, b = *(const double *)right;

	return (a > b) - (a < b);
}

static double centile(double part)
{
	if (!good)
		return 0;
	long at = (long)(part * (double)good);
	return latencies[at < good ? at : good - 1];
}

static void report(double seconds)
{
	struct rusage usage;
	uint64_t digest = 0;
	long messages = 0;

	for (size_t i = 0; i < (size_t)options.users * (size_t)options.retr; i++) {
		if (seen[i]) {
			/* The sum does not depend on the order in which a server numbers its messages. */
			digest += (uint64_t)crcs[i] * 0x9e3779b97f4a7c15u;
			messages++;
		}
	}
	qsort(latencies, (size_t)good, sizeof *latencies, by_value);
	getrusage(RUSAGE_SELF, &usage);
	printf("{\"sessions\": %ld, \"seconds\": %.6f, \"octets\": %llu, \"own_cpu\": %.6f, ", good, seconds,
	       (unsigned long long)received,
	       (double)usage.ru_utime.tv_sec + (double)usage.ru_utime.tv_usec / 1e6 + (double)usage.ru_stime.tv_sec +
		       (double)usage.ru_stime.tv_usec / 1e6);
	printf("\"p50\": %.6f, \"p90\": %.6f, \"p99\": %.6f, \"max\": %.6f, ", centile(0.5), centile(0.9), centile(0.99),
	       good ? latencies[good - 1] : 0.0);
	printf("\"resumed\": %ld, \"opened\": %ld, \"messages\": %ld, \"digest\": \"%016llx\", \"faults\": {", resumed, opened,
	       messages, (unsigned long long)digest);
	const char *comma = "";
	for (int i = 0; i < FAULTS; i++) {
		if (faults[i]) {
			printf("%s\"%s\": %ld", comma, FAULT_NAMES[i], faults[i]);
			comma = ", ";
		}
	}
	printf("}}\n");
	fflush(stdout);
}

static void stop(int signal)
{
	(void)signal;
	stopping = 1;
}

static void usage(void)
{
	fprintf(stderr,
		"popload --port N [--mode session|pipelined|poll|idle] [--tls none|full|resume]\n"
		"        [--sessions N] [--concurrency N] [--users N] [--user FORMAT] [--password TEXT]\n"
		"        [--retr N] [--sources N] [--seconds N]\n"
		"session: USER PASS STAT UIDL, RETR 1 to N, QUIT, each after the reply to the one before.\n"
		"pipelined: the same, all behind PASS at once. poll: USER PASS STAT QUIT.\n"
		"idle: logs in and stays, with all sessions; prints a line when all are in, and waits for SIGTERM.\n"
		"Gives up after so many seconds.\n");
	exit(2);
}

static int one_of(const char *text, const char *const *names)
{
	for (int i = 0; names[i]; i++) {
		if (strcmp(text, names[i]) == 0)
			return i;
	}
	usage();
	return 0;
}

static void read_options(int count, char **arguments)
{
	static const char *const modes[] = { "session", "pipelined", "poll", "idle", NULL };
	static const char *const ways[] = { "none", "full", "resume", NULL };
	static const struct option known[] = {
		{ "port", 1, NULL, 'p' },	 { "mode", 1, NULL, 'm' },  { "tls", 1, NULL, 't' },
		{ "sessions", 1, NULL, 'n' },	 { "retr", 1, NULL, 'r' },  { "concurrency", 1, NULL, 'c' },
		{ "users", 1, NULL, 'u' },	 { "user", 1, NULL, 'U' },  { "password", 1, NULL, 'P' },
		{ "sources", 1, NULL, 's' },	 { "seconds", 1, NULL, 'l' }, { NULL, 0, NULL, 0 },
	};
	int each;

	while ((each = getopt_long(count, arguments, "", known, NULL)) != -1) {
		switch (each) {
		case 'p': options.port = atoi(optarg); break;
		case 'm': options.mode = (enum mode)one_of(optarg, modes); break;
		case 't': options.tls = (enum tls)one_of(optarg, ways); break;
		case 'n': options.sessions = atol(optarg); break;
		case 'r': options.retr = atoi(optarg); break;
		case 'c': options.concurrency = atoi(optarg); break;
		case 'u': options.users = atoi(optarg); break;
		case 'U': options.user = optarg; break;
		case 'P': options.password = optarg; break;
		case 's': options.sources = atoi(optarg); break;
		case 'l': options.seconds = atof(optarg); break;
		default: usage();
		}
	}
	if (options.port <= 0 || options.users <= 0 || options.sessions <= 0 || options.concurrency <= 0 ||
	    options.retr < 0 || options.retr > 200 || options.sources <= 0)
		usage();
	if (options.mode == IDLE)
		options.concurrency = (int)options.sessions;
	if (options.concurrency > options.sessions)
		options.concurrency = (int)options.sessions;
}

static void *wanted(size_t count, size_t size)
{
	void *found = calloc(count ? count : 1, size);

	if (!found)
		die("calloc");
	return found;
}

static void prepare(void)
{
	struct rlimit files;
	size_t messages = (size_t)options.users * (size_t)options.retr;

	getrlimit(RLIMIT_NOFILE, &files);
	files.rlim_cur = files.rlim_max;
	setrlimit(RLIMIT_NOFILE, &files);
	crcs = wanted(messages, sizeof *crcs);
	seen = wanted(messages, sizeof *seen);
	latencies = wanted((size_t)options.sessions, sizeof *latencies);
	tickets = wanted((size_t)options.users, sizeof *tickets);
	signal(SIGPIPE, SIG_IGN);
	struct sigaction action = { .sa_handler = stop };
	sigaction(SIGTERM, &action, NULL);
	epoll = epoll_create1(EPOLL_CLOEXEC);
	if (options.tls == NONE)
		return;
	context = SSL_CTX_new(TLS_client_method());
	SSL_CTX_set_min_proto_version(context, TLS1_3_VERSION);
	SSL_CTX_set_verify(context, SSL_VERIFY_NONE, NULL);
	SSL_CTX_set1_groups_list(context, "P-256");
	SSL_CTX_set_session_cache_mode(context, SSL_SESS_CACHE_CLIENT | SSL_SESS_CACHE_NO_INTERNAL);
	if (options.tls == RESUME)
		SSL_CTX_sess_set_new_cb(context, keep_ticket);
}

static void refill(struct session *sessions)
{
	for (int i = 0; i < options.concurrency && started < options.sessions; i++) {
		/* Many may stay; that many at once at the door is another thing to measure. */
		if (options.mode == IDLE && started - opened - ended >= AT_THE_DOOR)
			return;
		if (sessions[i].fd < 0)
			begin(&sessions[i], started++);
	}
}

static void run(struct session *sessions)
{
	static struct epoll_event events[256];
	int told = 0;

	while (ended < options.sessions && !stopping) {
		int count = epoll_wait(epoll, events, 256, 200);

		if (now() > give_up) {
			fprintf(stderr, "gave up after %g seconds: %ld of %ld sessions\n", options.seconds, good + opened,
				options.sessions);
			faults[CLOSED] += options.sessions - ended;
			return;
		}
		long before = ended + opened;
		for (int i = 0; i < count; i++) {
			struct session *session = events[i].data.ptr;
			if (session->fd < 0 || connected(session) < 0)
				continue;
			if (flush(session) < 0)
				finish(session, CLOSED);
			else
				ready(session);
		}
		if (ended + opened > before)
			refill(sessions);
		if (options.mode == IDLE && !told && opened + ended == options.sessions) {
			told = 1;
			give_up += 1e6;
			report(now() - began);
		}
	}
}

int main(int count, char **arguments)
{
	read_options(count, arguments);
	prepare();
	struct session *sessions = wanted((size_t)options.concurrency, sizeof *sessions);
	for (int i = 0; i < options.concurrency; i++)
		sessions[i].fd = -1;
	began = now();
	give_up = began + options.seconds;
	refill(sessions);
	run(sessions);
	if (options.mode != IDLE)
		report(now() - began);
	for (int i = 0; i < FAULTS; i++) {
		if (faults[i])
			return 1;
	}
	return 0;
}
