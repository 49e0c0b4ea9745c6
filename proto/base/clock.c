/* Clocks, and the civil calendar without the C library's time zone machinery (Hinnant, "chrono-compatible low-level date
 * algorithms"): times are printed for every record, and gmtime takes a lock. */
#include "picket/clock.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

static int64_t read_clock(clockid_t id, int64_t per_s)
{
    struct timespec now;
    clock_gettime(id, &now);
    return (int64_t)now.tv_sec * per_s + now.tv_nsec / (1000000000 / per_s);
}

int64_t pk_clock_wall_us(void)
{
    return read_clock(CLOCK_REALTIME, PK_US_PER_S);
}

int64_t pk_clock_mono_ms(void)
{
    return read_clock(CLOCK_MONOTONIC, 1000);
}

static void civil_from_days(int64_t days, int *out_year, unsigned *out_month, unsigned *out_day)
{
    days += 719468;
    int64_t era = (days >= 0 ? days : days - 146096) / 146097;
    unsigned doe = (unsigned)(days - era * 146097);
    unsigned yoe = (doe - doe / 1460 + doe / 36524 - doe / 146096) / 365;
    unsigned doy = doe - (365 * yoe + yoe / 4 - yoe / 100);
    unsigned mp = (5 * doy + 2) / 153;
    *out_day = doy - (153 * mp + 2) / 5 + 1;
    *out_month = mp < 10 ? mp + 3 : mp - 9;
    *out_year = (int)((int64_t)yoe + era * 400 + (*out_month <= 2));
}

static int64_t days_from_civil(int year, unsigned month, unsigned day)
{
    year -= month <= 2;
    int64_t era = (year >= 0 ? year : year - 399) / 400;
    unsigned yoe = (unsigned)(year - era * 400);
    unsigned doy = (153 * (month > 2 ? month - 3 : month + 9) + 2) / 5 + day - 1;
    unsigned doe = yoe * 365 + yoe / 4 - yoe / 100 + doy;
    return era * 146097 + (int64_t)doe - 719468;
}

static char *digits(char *p, unsigned v, unsigned n)
{
    for (unsigned i = n; i-- > 0; v /= 10) {
        p[i] = (char)('0' + v % 10);
    }
    return p + n;
}

const char *pk_time_text(int64_t wall_us, char out_text[PK_TIME_TEXT_SIZE])
{
    const int64_t min_us = INT64_C(-62167219200) * PK_US_PER_S,
                  max_us = INT64_C(253402300800) * PK_US_PER_S - 1;
    wall_us = wall_us < min_us ? min_us : wall_us > max_us ? max_us : wall_us;
    int64_t days = wall_us / PK_US_PER_DAY;
    int64_t rest = wall_us % PK_US_PER_DAY;
    if (rest < 0) {
        rest += PK_US_PER_DAY;
        days--;
    }
    int year;
    unsigned month, day;
    civil_from_days(days, &year, &month, &day);
    unsigned s = (unsigned)(rest / PK_US_PER_S);
    char *p = digits(out_text, (unsigned)year, 4);
    *p++ = '-';
    p = digits(p, month, 2);
    *p++ = '-';
    p = digits(p, day, 2);
    *p++ = 'T';
    p = digits(p, s / 3600, 2);
    *p++ = ':';
    p = digits(p, s / 60 % 60, 2);
    *p++ = ':';
    p = digits(p, s % 60, 2);
    *p++ = '.';
    p = digits(p, (unsigned)(rest % PK_US_PER_S), 6);
    *p++ = 'Z';
    *p = '\0';
    return out_text;
}

/* Reads exactly n digits; -1 when there are others. */
static int number(const char **p, unsigned n)
{
    int v = 0;
    for (unsigned i = 0; i < n; i++) {
        char c = (*p)[i];
        if (c < '0' || c > '9') {
            return -1;
        }
        v = v * 10 + (c - '0');
    }
    *p += n;
    return v;
}

static bool accept(const char **p, char c)
{
    if (**p != c) {
        return false;
    }
    (*p)++;
    return true;
}

static bool parse_fraction(const char **p, int64_t *out_us)
{
    int64_t us = 0, scale = 100000;
    if (!accept(p, '.')) {
        *out_us = 0;
        return true;
    }
    const char *start = *p;
    for (; **p >= '0' && **p <= '9'; (*p)++, scale /= 10) {
        us += (**p - '0') * scale;
    }
    *out_us = us;
    return *p > start;
}

static bool parse_offset(const char **p, int64_t *out_us)
{
    if (accept(p, 'Z') || accept(p, 'z')) {
        *out_us = 0;
        return true;
    }
    bool is_west = **p == '-';
    if (!is_west && **p != '+') {
        return false;
    }
    (*p)++;
    int hours = number(p, 2);
    if (hours < 0 || hours > 23 || !accept(p, ':')) {
        return false;
    }
    int minutes = number(p, 2);
    if (minutes < 0 || minutes > 59) {
        return false;
    }
    *out_us = (hours * 3600 + minutes * 60) * PK_US_PER_S * (is_west ? -1 : 1);
    return true;
}

bool pk_time_parse(const char *text, int64_t *out_wall_us)
{
    const char *p = text;
    int year = number(&p, 4);
    int month = year >= 0 && accept(&p, '-') ? number(&p, 2) : -1;
    int day = month > 0 && accept(&p, '-') ? number(&p, 2) : -1;
    if (month < 1 || month > 12 || day < 1 || day > 31) {
        return false;
    }
    int64_t us = days_from_civil(year, (unsigned)month, (unsigned)day) * PK_US_PER_DAY;
    if (*p == '\0') {
        *out_wall_us = us;
        return true;
    }
    if (!accept(&p, 'T') && !accept(&p, 't') && !accept(&p, ' ')) {
        return false;
    }
    int hour = number(&p, 2);
    int minute = hour >= 0 && accept(&p, ':') ? number(&p, 2) : -1;
    int second = minute >= 0 && accept(&p, ':') ? number(&p, 2) : -1;
    int64_t fraction_us, offset_us;
    if (hour < 0 || hour > 23 || minute < 0 || minute > 59 || second < 0 || second > 60 ||
        !parse_fraction(&p, &fraction_us) || !parse_offset(&p, &offset_us) || *p != '\0') {
        return false;
    }
    *out_wall_us =
        us + (hour * 3600 + minute * 60 + second) * PK_US_PER_S + fraction_us - offset_us;
    return true;
}
