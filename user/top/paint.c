// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <termios.h>

#include "lib/util.h"
#include "sink/terminal.h"
#include "top/paint.h"

/* Last, since they make macros of common words. */
#define NCURSES_WIDECHAR 1
#include <curses.h>
#include <term.h>
#undef columns
#undef lines

#define ESCAPE_MS 25 /* a lone Escape is told from a key's sequence by what follows within this time */
#define COLORS_MANY 16

/* ncurses is a global itself; handlers of signals have nothing else to go by. */
static struct paint {
	SCREEN *screen;
	struct termios before;
	int stderr_fd, held_fd; /* standard error as it was; what goes to it meanwhile */
	off_t told; /* of what is held, by paint_message */
	int resize[2]; /* a pipe from the signal's handler */
	char restore[256]; /* what gives the terminal back */
	volatile sig_atomic_t open;
} paint = { .stderr_fd = -1, .held_fd = -1, .resize = { -1, -1 } };

int paint_check(char *why, size_t why_len)
{
	const char *term = getenv("TERM");
	int err = 0;

	for (int fd = STDIN_FILENO; fd <= STDOUT_FILENO; fd++) {
		if (isatty(fd))
			continue;
		snprintf(why, why_len, "standard %s is not a terminal; `stakeout record` and `stakeout report` do without one", fd ? "output" : "input");
		return -ENOTTY;
	}
	if (setupterm(NULL, STDOUT_FILENO, &err) != OK || !cursor_address || !clear_screen) {
		snprintf(why, why_len, "a terminal of type '%.40s' (TERM) can't be used: the cursor can't be moved there, or the type is not known", term ? term : "");
		return -ENOTSUP;
	}
	return 0;
}

/* --- giving the terminal back --- */

/* What was kept from standard error. Fit for handlers of signals. */
static void stderr_release(void)
{
	char part[512];
	off_t at = 0;
	ssize_t n;

	if (paint.stderr_fd < 0)
		return;
	dup2(paint.stderr_fd, STDERR_FILENO);
	while ((n = pread(paint.held_fd, part, sizeof(part), at)) > 0 && write(STDERR_FILENO, part, (size_t)n) == n)
		at += n;
	close(paint.stderr_fd);
	close(paint.held_fd);
	paint.stderr_fd = paint.held_fd = -1;
}

/* Without ncurses, whose state may be anything by then. */
static void on_fault(int signo)
{
	if (paint.open) {
		ssize_t n = write(STDOUT_FILENO, paint.restore, strlen(paint.restore));

		(void)n;
		paint.open = 0;
		tcsetattr(STDOUT_FILENO, TCSANOW, &paint.before);
		stderr_release();
	}
	raise(signo); /* its own way is back: SA_RESETHAND */
}

static void on_resize(int signo)
{
	int err = errno;
	ssize_t n = write(paint.resize[1], "", 1);

	(void)signo;
	(void)n;
	errno = err;
}

static void signals_set(void)
{
	static const int faults[] = { SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGABRT, SIGQUIT };
	struct sigaction fault = { .sa_handler = on_fault, .sa_flags = SA_RESETHAND | SA_NODEFER };
	struct sigaction resize = { .sa_handler = on_resize, .sa_flags = SA_RESTART };

	for (size_t i = 0; i < ARRAY_SIZE(faults); i++)
		sigaction(faults[i], &fault, NULL);
	sigaction(SIGWINCH, &resize, NULL);
}

static void restore_add(const char *capability)
{
	size_t used = strlen(paint.restore);

	if (capability && capability != (const char *)-1 && used + strlen(capability) < sizeof(paint.restore))
		strcpy(paint.restore + used, capability);
}

static void stderr_hold(void)
{
	paint.held_fd = memfd_create("stderr", MFD_CLOEXEC);
	if (paint.held_fd < 0)
		return;
	fcntl(paint.held_fd, F_SETFL, O_APPEND);
	paint.stderr_fd = fcntl(STDERR_FILENO, F_DUPFD_CLOEXEC, STDERR_FILENO + 1);
	if (paint.stderr_fd < 0 || dup2(paint.held_fd, STDERR_FILENO) < 0) {
		cleanup_close(&paint.held_fd);
		cleanup_close(&paint.stderr_fd);
		paint.held_fd = paint.stderr_fd = -1;
	}
}

bool paint_message(char *ret, size_t size)
{
	char last[1024];
	off_t end = paint.held_fd >= 0 ? lseek(paint.held_fd, 0, SEEK_END) : 0;
	ssize_t n;
	char *line;

	if (end <= paint.told)
		return false;
	n = pread(paint.held_fd, last, sizeof(last) - 1, end > (off_t)sizeof(last) - 1 ? end - (off_t)sizeof(last) + 1 : 0);
	paint.told = end;
	if (n <= 0)
		return false;
	last[n] = '\0';
	if (last[n - 1] == '\n')
		last[n - 1] = '\0';
	line = strrchr(last, '\n');
	snprintf(ret, size, "%.*s", (int)size - 1, line ? line + 1 : last);
	return true;
}

/* --- opening --- */

static void colors_set(struct top_view *v)
{
	struct terminal_options o;

	terminal_options_detect(&o, stdout);
	v->utf8 = o.utf8;
	v->color = o.color && has_colors() && start_color() == OK && COLORS >= 8;
	v->letters = COLORS < COLORS_MANY;
	if (!v->color)
		return;
	use_default_colors();
	for (int c = 1; c < COLORS_MANY; c++)
		if (c < COLORS)
			init_pair((short)c, (short)c, -1);
}

int paint_open(struct top_view *v)
{
	struct terminal_options o;

	terminal_options_detect(&o, stdout); /* the locale, before ncurses looks at it */
	if (pipe2(paint.resize, O_CLOEXEC | O_NONBLOCK))
		return -errno;
	tcgetattr(STDOUT_FILENO, &paint.before);
	set_escdelay(ESCAPE_MS);
	paint.screen = newterm(NULL, stdout, stdin);
	if (!paint.screen)
		return -ENOTSUP;
	restore_add(exit_attribute_mode);
	restore_add(orig_pair);
	restore_add(keypad_local);
	restore_add(cursor_normal);
	restore_add(exit_ca_mode);
	paint.open = 1;
	signals_set();
	atexit(paint_close);
	stderr_hold();
	cbreak();
	noecho();
	nonl(); /* Enter is told from Ctrl-J */
	keypad(stdscr, TRUE);
	nodelay(stdscr, TRUE);
	curs_set(0);
	colors_set(v);
	getmaxyx(stdscr, v->height, v->width);
	return 0;
}

void paint_close(void)
{
	if (!paint.open)
		return;
	paint.open = 0;
	endwin();
	delscreen(paint.screen);
	signal(SIGWINCH, SIG_DFL);
	for (int i = 0; i < 2; i++)
		close(paint.resize[i]);
	stderr_release();
}

int paint_resize_fd(void)
{
	return paint.resize[0];
}

void paint_resized(struct top_view *v)
{
	struct winsize size;
	char bytes[64];

	while (read(paint.resize[0], bytes, sizeof(bytes)) > 0)
		;
	if (!ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) && size.ws_row && size.ws_col)
		resizeterm(size.ws_row, size.ws_col);
	getmaxyx(stdscr, v->height, v->width);
	if (v->width > TERMINAL_WIDTH_MAX)
		v->width = TERMINAL_WIDTH_MAX;
	clearok(curscr, TRUE); /* terminals differ in what they do to what is there */
}

void paint_forget(void)
{
	clearok(curscr, TRUE);
}

/* --- keys --- */

static uint32_t key_of_code(wint_t code)
{
	static const struct {
		wint_t code;
		uint32_t key;
	} keys[] = {
		{ KEY_UP, TOP_KEY_UP },		{ KEY_DOWN, TOP_KEY_DOWN },	{ KEY_LEFT, TOP_KEY_LEFT },	      { KEY_RIGHT, TOP_KEY_RIGHT },
		{ KEY_PPAGE, TOP_KEY_PAGE_UP }, { KEY_NPAGE, TOP_KEY_PAGE_DOWN }, { KEY_HOME, TOP_KEY_HOME },	      { KEY_END, TOP_KEY_END },
		{ KEY_ENTER, TOP_KEY_ENTER },	{ KEY_F(1), TOP_KEY_HELP },	{ KEY_BACKSPACE, TOP_KEY_BACKSPACE },
	};

	for (size_t i = 0; i < ARRAY_SIZE(keys); i++)
		if (keys[i].code == code)
			return keys[i].key;
	return UINT32_MAX; /* a key that means nothing */
}

uint32_t paint_key(bool *ret_gone)
{
	struct pollfd p = { .fd = STDIN_FILENO, .events = POLLIN };
	wint_t c;
	int ret = get_wch(&c);

	*ret_gone = false;
	if (ret == KEY_CODE_YES)
		return key_of_code(c);
	if (ret == ERR) {
		/* At the end of the input, too: what can still be read then is nothing. */
		*ret_gone = poll(&p, 1, 0) > 0 && (p.revents & (POLLHUP | POLLERR));
		return TOP_KEY_NONE;
	}
	switch (c) {
	case '\r':
	case '\n':
		return TOP_KEY_ENTER;
	case 0x7f:
	case '\b':
		return TOP_KEY_BACKSPACE;
	default:
		return (uint32_t)c;
	}
}

void paint_keys_drop(void)
{
	flushinp();
}

/* --- painting --- */

/* The attribute of an SGR number. Bright colours are bold ones where there are eight; grey would be black then. */
static attr_t attr_of(int sgr)
{
	int color = 0, bright = 0;

	if (sgr == STYLE_BOLD)
		return A_BOLD;
	if (sgr == STYLE_DIM)
		return A_DIM;
	if (sgr >= 30 && sgr <= 37)
		color = sgr - 30;
	else if (sgr >= 90 && sgr <= 97)
		color = sgr - 90, bright = 1;
	else
		return A_NORMAL;
	if (bright && COLORS < COLORS_MANY)
		return color ? A_BOLD | COLOR_PAIR(color) : A_DIM;
	return COLOR_PAIR(color + 8 * bright);
}

/* A line with SGR sequences; a highlighted one is reversed but for what has a colour of its own. */
static void paint_line(int y, const char *line, bool selected)
{
	attr_t plain = selected ? A_REVERSE : A_NORMAL;
	int sgr = 0;

	move(y, 0);
	if (selected) {
		attrset(plain);
		hline(' ' | plain, COLS);
	}
	for (const char *c = line; *c;) {
		size_t len = strcspn(c, "\033");

		attrset(sgr >= 30 ? attr_of(sgr) : plain | attr_of(sgr));
		addnstr(c, (int)len);
		c += len;
		if (*c && sscanf(c, "\033[%dm", &sgr) == 1)
			c += strcspn(c, "m");
		c += *c != '\0';
	}
	attrset(A_NORMAL);
}

/* Terminals without colours never get the sequences: see style_begin. */
void paint_frame(const struct top_frame *f)
{
	erase();
	for (int i = 0; i < f->len && i < LINES; i++)
		paint_line(i, f->lines[i], i == f->selected);
	refresh();
}
