/* SPDX-License-Identifier: Apache-2.0 */
/* What comes of a request for files. */
#include "agent/api/files.h"

#include <sys/stat.h>

#include "base/held.h"

static enum MHD_Result respond_content(struct api_request *r);

static const char *type_of(uint32_t mode)
{
	switch (mode & S_IFMT) {
	case S_IFREG:
		return "file";
	case S_IFDIR:
		return "directory";
	case S_IFLNK:
		return "link";
	case S_IFIFO:
		return "fifo";
	case S_IFSOCK:
		return "socket";
	default:
		return "device";
	}
}

static void write_entry(struct jbuf *b, const struct files_entry *e, const char *path, size_t len)
{
	char text[2 * sizeof(e->hash) + 1];

	api_write_output(b, "path", path, len);
	jbuf_add_text(b, "type", type_of(e->mode));
	jbuf_add_unsigned(b, "size", e->size);
	snprintf(text, sizeof(text), "%04o", e->mode & 07777);
	jbuf_add_text(b, "mode", text);
	jbuf_add_unsigned(b, "uid", e->uid);
	jbuf_add_unsigned(b, "gid", e->gid);
	jbuf_add_time(b, "modifiedAt", e->mtime_ms);
	if (!e->has_hash)
		return;
	for (size_t i = 0; i < sizeof(e->hash); i++)
		snprintf(text + 2 * i, 3, "%02x", e->hash[i]);
	jbuf_add_text(b, "sha256", text);
}

static void on_entry(struct files_observer *o, const struct files_told *told)
{
	struct api_files *f = container_of(o, struct api_files, observer);
	struct api_request *r = f->request;
	bool list = f->form == FORM_LIST;

	if (f->form == FORM_OTHER)
		return;

	if (f->form == FORM_CONTENT) {
		f->entry = told->entry;
		f->partial = f->ask.flags & (FILES_RANGE | FILES_SUFFIX);
		return;
	}
	if (list)
		jbuf_open(&r->reply, '{');
	if (f->form == FORM_EXISTS)
		jbuf_add_bool(&r->reply, "exists", true);
	write_entry(&r->reply, &told->entry, list ? told->name : f->path,
		    list ? told->name_len : strlen(f->path));
	if (told->target_len)
		api_write_output(&r->reply, "target", told->target, told->target_len);
	if (list)
		jbuf_close(&r->reply, '}');
	api_count_held(r);
}

static void on_room(struct files_observer *o)
{
	api_resume(container_of(o, struct api_files, observer)->request);
}

static void on_failed(struct files_observer *o, const struct refusal *e)
{
	struct api_files *f = container_of(o, struct api_files, observer);
	struct api_request *r = f->request;

	f->files = NULL;
	r->error = *e;
	if (f->form == FORM_EXISTS &&
	    (e->code == MOAT_E_NO_SUCH_FILE || e->code == MOAT_E_NOT_A_DIRECTORY)) {
		jbuf_add_bool(&r->reply, "exists", false);
		jbuf_close(&r->reply, '}');
		r->status = 200;
	} else if (r->respond) {
		r->gone = true; /* the answer has begun: it ends too early */
	} else {
		r->failed = true;
		if (f->on_failed)
			f->on_failed(r);
	}
	api_resume(r);
}

static void on_end(struct files_observer *o, const struct files_end *end)
{
	struct api_files *f = container_of(o, struct api_files, observer);
	struct api_request *r = f->request;

	f->files = NULL;
	f->complete = true;
	if (f->form == FORM_CONTENT || f->form == FORM_OTHER) {
		/* where there was nothing to read it has not begun */
		r->respond = f->form == FORM_OTHER ? f->respond : respond_content;
		api_resume(r);
		return;
	}
	if (f->form == FORM_LIST) {
		jbuf_close(&r->reply, ']');
		jbuf_add_bool(&r->reply, "truncated", end->truncated);
	} else if (f->form == FORM_DONE) {
		jbuf_add_bool(&r->reply, "created", end->created);
	} else if (f->ask.operation == FILES_REMOVE) {
		jbuf_add_bool(&r->reply, "removed", true);
	}
	jbuf_close(&r->reply, '}');
	r->status = end->created ? 201 : 200;
	api_resume(r);
}

/* --- Content -------------------------------------------------------------------------------- */

static ssize_t on_read(void *cls, uint64_t position, char *buf, size_t max)
{
	struct api_request *r = cls;
	struct api_files *f = r->files;
	size_t n = f->len - f->at;

	(void)position;
	if (r->gone || (n == 0 && !f->files))
		return f->complete && !r->gone ? MHD_CONTENT_READER_END_OF_STREAM :
						 MHD_CONTENT_READER_END_WITH_ERROR;
	if (n == 0) {
		api_moving(r, false);
		api_suspend(r);
		return 0;
	}
	api_moving(r, true);
	n = n < max ? n : max;
	memcpy(buf, f->data + f->at, n);
	f->at += n;
	if (f->at == f->len)
		f->at = f->len = 0;
	if (f->paused && f->files && f->len - f->at < (held_scarce() ? 1 : API_FILES_LOW)) {
		f->paused = false;
		files_pause(f->files, false);
	}
	return (ssize_t)n;
}

static enum MHD_Result respond_content(struct api_request *r)
{
	struct api_files *f = r->files;
	bool archive = f->ask.operation == FILES_PACK;
	struct MHD_Response *response;
	char range[96];

	if (r->gone)
		return MHD_NO;
	api_moving(r, true);
	response = archive ? MHD_create_response_from_callback(MHD_SIZE_UNKNOWN, API_ANSWER_BLOCK,
							       on_read, r, NULL) :
		   f->entry.length == 0 ?
			   MHD_create_response_from_buffer(0, (void *)"", MHD_RESPMEM_PERSISTENT) :
			   MHD_create_response_from_callback(f->entry.length, API_ANSWER_BLOCK,
							     on_read, r, NULL);
	snprintf(range, sizeof(range), "bytes %llu-%llu/%llu", (unsigned long long)f->entry.offset,
		 (unsigned long long)(f->entry.offset + f->entry.length - 1),
		 (unsigned long long)f->entry.size);
	if (response &&
	    ((f->partial && MHD_add_response_header(response, "Content-Range", range) == MHD_NO) ||
	     (!archive &&
	      MHD_add_response_header(response, "Accept-Ranges", "bytes") == MHD_NO))) {
		MHD_destroy_response(response);
		return MHD_NO;
	}
	return api_queue(r, f->partial ? 206 : 200, response,
			 archive ? "application/x-tar" : "application/octet-stream");
}

/* Makes room for n bytes more; what is sent already makes some. */
static bool reserve(struct api_files *f, size_t n)
{
	size_t capacity = f->capacity ? f->capacity : API_ANSWER_BLOCK;
	char *grown;

	if (f->at > 0) {
		memmove(f->data, f->data + f->at, f->len - f->at);
		f->len -= f->at;
		f->at = 0;
	}
	while (capacity < f->len + n)
		capacity *= 2;
	if (capacity == f->capacity)
		return true;
	grown = grow_wiped(f->data, f->len, f->capacity, capacity);
	if (!grown)
		return false;
	held_force(capacity - f->capacity);
	f->data = grown;
	f->capacity = capacity;
	return true;
}

static void on_data(struct files_observer *o, const void *data, size_t n)
{
	struct api_files *f = container_of(o, struct api_files, observer);
	struct api_request *r = f->request;

	if (!reserve(f, n)) {
		r->gone = true; /* it cannot be whole: see on_read() */
	} else {
		memcpy(f->data + f->len, data, n);
		f->len += n;
	}
	if (!f->paused && (held_scarce() || f->len - f->at > API_FILES_HIGH)) {
		f->paused = true;
		files_pause(f->files, true);
	}
	r->respond = respond_content;
	api_resume(r);
}

const struct files_observer api_files_observer = { on_entry, on_data, on_room, on_end, on_failed };

void api_files_detach(struct api_request *r)
{
	if (!r->files || !r->files->files)
		return;
	files_cancel(r->files->files);
	r->files->files = NULL;
}

void api_files_free(struct api_request *r)
{
	if (!r->files)
		return;
	held_give(r->files->capacity);
	free_wiped(r->files->data, r->files->capacity);
	free(r->files);
}
