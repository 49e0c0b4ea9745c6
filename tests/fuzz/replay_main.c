/* Runs a fuzz target over the files of a folder (or over single files), so that corpora are ordinary tests of every build. An empty folder fails: then nothing
 * was tested. */
#include <dirent.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Each input has memory of its exact size: a sanitizer then sees a read too far. */
static int replay_file(const char *path)
{
    struct stat info;
    FILE *file = fopen(path, "rbe");
    if (!file || stat(path, &info) != 0) {
        fprintf(stderr, "%s: cannot be opened\n", path);
        if (file) {
            fclose(file);
        }
        return 1;
    }
    size_t size = (size_t)info.st_size;
    uint8_t *data = malloc(size ? size : 1);
    int status = data && fread(data, 1, size, file) == size ? 0 : 1;
    fclose(file);
    if (status == 0) {
        (void)LLVMFuzzerTestOneInput(data, size);
    } else {
        fprintf(stderr, "%s: cannot be read\n", path);
    }
    free(data);
    return status;
}

static int replay_folder(const char *path, unsigned *n_files)
{
    DIR *folder = opendir(path);
    if (!folder) {
        *n_files += 1;
        return replay_file(path);
    }
    int status = 0;
    for (struct dirent *entry; (entry = readdir(folder));) {
        char name[4096];
        if (entry->d_name[0] == '.') {
            continue;
        }
        snprintf(name, sizeof name, "%s/%s", path, entry->d_name);
        status |= replay_file(name);
        *n_files += 1;
    }
    closedir(folder);
    return status;
}

int main(int argc, char **argv)
{
    unsigned n_files = 0;
    int status = 0;
    for (int i = 1; i < argc; i++) {
        status |= replay_folder(argv[i], &n_files);
    }
    printf("%u inputs\n", n_files);
    return n_files > 0 ? status : 1;
}
