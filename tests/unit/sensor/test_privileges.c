/* What the sensor cannot do any more after it gave up its privileges, tried for real in a child process. As root the change of user is tried too. */
#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <net/if.h>
#include <netinet/in.h>
#include <pthread.h>
#include <pwd.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "sensor/privileges.h"

/* What a child tells by its pipe. */
struct told {
    struct pk_privileges_done done;
    bool is_good; /* become and confine */
    char error[PK_PRIVILEGES_ERROR_SIZE];
    uid_t uid;
    uint32_t effective, permitted, raised;
    int write_inside, read_allowed, read_outside, read_shadow, write_allowed_file, run, fork_it,
        be_root, packet_raised, packet_lowered, bluetooth, connect_allowed, connect_other,
        listen_tcp, trace, make_code, thread;
};

static char folder[] = "/tmp/picket-privileges-XXXXXX";
static char config[128], other[128];
static uint16_t open_port, other_port;

static int error_of(long result)
{
    return result < 0 ? errno : 0;
}

static int try_open(const char *path, int flags)
{
    int fd = open(path, flags | O_CLOEXEC, 0600);
    int error = error_of(fd);
    if (fd >= 0) {
        close(fd);
    }
    return error;
}

static int try_socket(int family, int type)
{
    int fd = socket(family, type, 0);
    int error = error_of(fd);
    if (fd >= 0) {
        close(fd);
    }
    return error;
}

static int try_connect(uint16_t port)
{
    struct sockaddr_in address = {
        .sin_family = AF_INET, .sin_port = htons(port), .sin_addr = {htonl(INADDR_LOOPBACK)}};
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    int error = error_of(connect(fd, (const struct sockaddr *)&address, sizeof address));
    close(fd);
    return error;
}

static int try_run(void)
{
    char *const argv[] = {(char[]){"true"}, NULL}, *const envp[] = {NULL};
    return error_of(execve("/bin/true", argv, envp)); /* comes back only when it was refused */
}

static int try_fork(void)
{
    pid_t pid = fork();
    if (pid == 0) {
        _exit(0);
    }
    return error_of(pid);
}

static void *nothing(void *arg)
{
    return arg;
}

static int try_thread(void)
{
    pthread_t thread;
    int error = pthread_create(&thread, NULL, nothing, NULL);
    return error ? error : pthread_join(thread, NULL);
}

static int try_make_code(void)
{
    void *page =
        mmap(NULL, 4096, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    return page == MAP_FAILED ? errno : 0;
}

static int try_listen(void)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(other_port)};
    int fd = socket(AF_INET, SOCK_STREAM, 0), one = 1;
    (void)setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    int error = error_of(bind(fd, (const struct sockaddr *)&address, sizeof address));
    close(fd);
    return error;
}

static void read_capabilities(uint32_t *out_effective, uint32_t *out_permitted)
{
    struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
    struct __user_cap_data_struct data[2] = {{0}};
    (void)syscall(SYS_capget, &header, data);
    *out_effective = data[0].effective | data[1].effective;
    *out_permitted = data[0].permitted | data[1].permitted;
}

static void try_all(struct told *told)
{
    uint32_t scrap;
    char inside[160];
    snprintf(inside, sizeof inside, "%s/spool/new", folder);
    told->uid = getuid();
    read_capabilities(&told->effective, &told->permitted);
    told->write_inside = try_open(inside, O_CREAT | O_WRONLY);
    told->read_allowed = try_open(config, O_RDONLY);
    told->write_allowed_file = try_open(config, O_WRONLY);
    told->read_outside = try_open(other, O_RDONLY);
    told->read_shadow = try_open("/etc/shadow", O_RDONLY);
    told->be_root = error_of(setresuid(0, 0, 0));
    told->packet_lowered = try_socket(AF_PACKET, SOCK_RAW);
    pk_privileges_net_raw(true);
    read_capabilities(&told->raised, &scrap);
    told->packet_raised = try_socket(AF_PACKET, SOCK_RAW);
    pk_privileges_net_raw(false);
    told->bluetooth = try_socket(31, SOCK_RAW);
    told->connect_allowed = try_connect(open_port);
    told->connect_other = try_connect(other_port);
    told->listen_tcp = try_listen();
    told->trace = error_of(ptrace(PTRACE_TRACEME, 0, NULL, NULL));
    told->make_code = try_make_code();
    told->thread = try_thread();
    told->fork_it = told->done.has_seccomp ? try_fork() : 0;
    told->run = try_run();
}

static void child(int pipe_fd)
{
    struct told told = {0};
    char spool[160];
    snprintf(spool, sizeof spool, "%s/spool", folder);
    struct pk_privileges_rules rules = {.writable = {spool},
        .n_writable = 1,
        .readable = {config},
        .n_readable = 1,
        .tcp_ports = {open_port},
        .n_tcp_ports = 1};
    told.is_good = pk_privileges_give_folder("nobody", spool, told.error, sizeof told.error) &&
                   (geteuid() == 0 || mkdir(spool, 0700) == 0 || errno == EEXIST) &&
                   pk_privileges_become("nobody", told.error, sizeof told.error) &&
                   pk_privileges_confine(&rules, &told.done, told.error, sizeof told.error);
    if (told.is_good) {
        try_all(&told);
    }
    ssize_t n = write(pipe_fd, &told, sizeof told);
    _exit(n == sizeof told ? 0 : 1);
}

static uint16_t listen_somewhere(void)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
    socklen_t len = sizeof address;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(fd, (const struct sockaddr *)&address, len), 0);
    assert_int_equal(listen(fd, 8), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)&address, &len), 0);
    return ntohs(address.sin_port);
}

static void make_file(char *out_path, size_t size, const char *name)
{
    snprintf(out_path, size, "%s/%s", folder, name);
    int fd = open(out_path, O_CREAT | O_WRONLY | O_CLOEXEC, 0644);
    assert_true(fd >= 0);
    assert_int_equal(fchmod(fd, 0666), 0); /* so that only Landlock stands in the way */
    close(fd);
}

static struct told run_child(void)
{
    int ends[2];
    struct told told = {0};
    assert_int_equal(pipe(ends), 0);
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        child(ends[1]);
    }
    close(ends[1]);
    assert_int_equal(read(ends[0], &told, sizeof told), sizeof told);
    close(ends[0]);
    int status;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_equal(status, 0);
    return told;
}

static int set_up(void **state)
{
    static struct told told;
    assert_non_null(mkdtemp(folder));
    assert_int_equal(chmod(folder, 0755), 0);
    make_file(config, sizeof config, "sensor.yaml");
    make_file(other, sizeof other, "secret");
    open_port = listen_somewhere();
    other_port = listen_somewhere();
    told = run_child();
    *state = &told;
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    char command[256];
    snprintf(command, sizeof command, "rm -rf '%s'", folder);
    return system(command); /* NOLINT: a test's own folder */
}

static void privileges_are_given_up(void **state)
{
    const struct told *told = *state;
    assert_string_equal(told->error, "");
    assert_true(told->is_good);
    assert_int_equal(told->effective, 0);
    assert_int_equal(told->permitted & ~(1U << CAP_NET_RAW), 0);
    assert_int_equal(told->be_root, EPERM);
    if (getuid() == 0) {
        assert_int_equal(told->uid, getpwnam("nobody")->pw_uid);
    }
}

static void an_interface_can_be_opened_again_only_while_the_capability_is_raised(void **state)
{
    const struct told *told = *state;
    assert_int_equal(told->packet_lowered, EPERM);
    if (told->permitted) {
        assert_int_equal(told->packet_raised, 0);
        assert_int_equal(told->raised, 1U << CAP_NET_RAW);
    }
}

static void files_outside_its_folders_stay_shut(void **state)
{
    const struct told *told = *state;
    assert_int_equal(told->write_inside, 0);
    assert_int_equal(told->read_allowed, 0);
    if (told->done.landlock_abi == 0) {
        skip();
    }
    assert_int_equal(told->read_outside, EACCES);
    assert_int_equal(told->write_allowed_file, EACCES);
    assert_int_equal(told->read_shadow, EACCES);
}

static void only_the_aggregators_port_can_be_connected_to(void **state)
{
    const struct told *told = *state;
    assert_int_equal(told->connect_allowed, 0);
    if (told->done.landlock_abi < 4) {
        skip();
    }
    assert_int_equal(told->connect_other, EACCES);
    assert_int_equal(told->listen_tcp, EACCES);
}

static void no_program_can_be_run(void **state)
{
    const struct told *told = *state;
    assert_int_equal(told->thread, 0);
    if (told->done.landlock_abi == 0 && !told->done.has_seccomp) {
        skip();
    }
    assert_true(told->run == EPERM || told->run == EACCES); /* seccomp, or Landlock alone */
    if (!told->done.has_seccomp) {
        return;
    }
    assert_int_equal(told->fork_it, EPERM);
    assert_int_equal(told->make_code, EPERM);
    assert_int_equal(told->trace, EPERM);
    assert_int_equal(told->bluetooth, EPERM);
}

static void a_folder_of_somebody_else_is_refused_with_what_to_do(void **state)
{
    (void)state;
    char error[PK_PRIVILEGES_ERROR_SIZE] = "";
    if (getuid() != 0) {
        skip();
    }
    assert_false(pk_privileges_give_folder("nobody", folder, error, sizeof error));
    assert_non_null(strstr(error, "chown -R nobody"));
    assert_false(pk_privileges_give_folder("no-such-user", folder, error, sizeof error));
    assert_non_null(strstr(error, "no-such-user"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(privileges_are_given_up),
        cmocka_unit_test(an_interface_can_be_opened_again_only_while_the_capability_is_raised),
        cmocka_unit_test(files_outside_its_folders_stay_shut),
        cmocka_unit_test(only_the_aggregators_port_can_be_connected_to),
        cmocka_unit_test(no_program_can_be_run),
        cmocka_unit_test(a_folder_of_somebody_else_is_refused_with_what_to_do),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
