#include "run.h"
int pk_run_daemon(const char *p){(void)p;return 1;}
int pk_run_check_config(const char *p){(void)p;return 1;}
int pk_run_genkey(const char *p){(void)p;return 1;}
