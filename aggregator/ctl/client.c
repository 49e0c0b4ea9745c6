/* The libcurl edge. */
#include "client.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <curl/curl.h>

enum {
    CONNECT_TIMEOUT_S = 10,
    TIMEOUT_S = 300,
    MAX_URL = 8192
};

static size_t on_data(char *data, size_t size, size_t n, void *arg)
{
    struct pk_bytes *out = arg;
    pk_bytes_put(out, data, size * n);
    return out->err == PK_OK ? size * n : 0;
}

void pk_client_escape(struct pk_bytes *out, const char *text)
{
    for (const char *p = text; *p; p++) {
        unsigned char c = (unsigned char)*p;
        if ((c >= '0' && c <= '9') || ((c | 0x20) >= 'a' && (c | 0x20) <= 'z') ||
            strchr("-._~*", c)) {
            pk_bytes_put_u8(out, c);
        } else {
            pk_bytes_printf(out, "%%%02X", c);
        }
    }
}

pk_err pk_client_request(const struct pk_api_client *client, const char *method, const char *path,
    const char *body, size_t body_len, long *out_status, struct pk_bytes *out_body,
    char out_error[PK_CLIENT_ERROR_SIZE])
{
    char url[MAX_URL], key[256], reason[CURL_ERROR_SIZE] = "";
    CURL *curl = curl_easy_init();
    struct curl_slist *headers = NULL;
    if (!curl || (size_t)snprintf(url, sizeof url, "%s%s", client->server, path) >= sizeof url) {
        snprintf(out_error, PK_CLIENT_ERROR_SIZE, "out of memory, or the request is too long");
        curl_easy_cleanup(curl);
        return PK_ERR_LIMIT;
    }
    if (client->key) {
        snprintf(key, sizeof key, "X-API-Key: %s", client->key);
        headers = curl_slist_append(headers, key);
    }
    headers = curl_slist_append(headers, "Content-Type: application/octet-stream");
    curl_easy_setopt(curl, CURLOPT_URL, url);
    curl_easy_setopt(curl, CURLOPT_HTTPHEADER, headers);
    curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, on_data);
    curl_easy_setopt(curl, CURLOPT_WRITEDATA, out_body);
    curl_easy_setopt(curl, CURLOPT_ERRORBUFFER, reason);
    curl_easy_setopt(curl, CURLOPT_CONNECTTIMEOUT, (long)CONNECT_TIMEOUT_S);
    curl_easy_setopt(curl, CURLOPT_TIMEOUT, (long)TIMEOUT_S);
    curl_easy_setopt(curl, CURLOPT_NOSIGNAL, 1L);
    if (strcmp(method, "POST") == 0) {
        curl_easy_setopt(curl, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)body_len);
        curl_easy_setopt(curl, CURLOPT_POSTFIELDS, body ? body : "");
    }
    CURLcode result = curl_easy_perform(curl);
    if (result == CURLE_OK) {
        curl_easy_getinfo(curl, CURLINFO_RESPONSE_CODE, out_status);
    } else {
        snprintf(out_error, PK_CLIENT_ERROR_SIZE,
            "%s does not answer: %s; is picket-api running, and is PICKET_SERVER right?",
            client->server, reason[0] ? reason : curl_easy_strerror(result));
    }
    curl_slist_free_all(headers);
    curl_easy_cleanup(curl);
    return result == CURLE_OK ? PK_OK : PK_ERR_IO;
}
