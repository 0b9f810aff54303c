/* The module paraattn-video.so: frames to H.264 in MP4 and to animated WebP, by FFmpeg's libraries. SPDX-License-Identifier: Apache-2.0 */
#include "io/video/video_module.h"

#include <libavcodec/avcodec.h>
#include <libavformat/avformat.h>
#include <libavutil/imgutils.h>
#include <libavutil/opt.h>
#include <libswscale/swscale.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "io/video/webp_metadata.h"

enum { IO_BYTES = 1 << 16, WEBP_QUALITY = 90, SILENT = 100 /* above every level of FFmpeg's log */ };

struct para_video_encoder {
    para_video_kind kind;
    int height, width;
    para_video_sink sink;
    bool sink_failed;
    int64_t frames, position, end; /* given; where the sink stands, bytes that it has */
    AVCodecContext *codec;
    AVFormatContext *format; /* of MP4; libwebp_anim gives whole files */
    struct SwsContext *scaler;
    AVFrame *frame;
    AVPacket *packet;
    char **text; /* of WebP: key, value, …, NULL; written at the end */
};

/* ---- The sink as FFmpeg's file */

static bool put(para_video_encoder *e, const void *bytes, size_t n) {
    if (!e->sink.write(e->sink.user, bytes, n)) return !(e->sink_failed = true);
    e->position += (int64_t)n;
    if (e->end < e->position) e->end = e->position;
    return true;
}

#if LIBAVFORMAT_VERSION_MAJOR >= 61
typedef const uint8_t io_byte;
#else
typedef uint8_t io_byte;
#endif

static int on_write(void *user, io_byte *bytes, int n) {
    return put(user, bytes, (size_t)n) ? n : AVERROR(EIO);
}

static int64_t on_seek(void *user, int64_t offset, int whence) {
    para_video_encoder *e = user;
    if (whence == AVSEEK_SIZE) return e->end;
    int64_t to = whence == SEEK_CUR ? e->position + offset : whence == SEEK_END ? e->end + offset : offset;
    if (!e->sink.seek(e->sink.user, to)) {
        e->sink_failed = true;
        return AVERROR(EIO);
    }
    return e->position = to;
}

/* ---- Opening */

static void close_encoder(para_video_encoder **encoder) {
    para_video_encoder *e = *encoder;
    if (!e) return;
    if (e->format) {
        if (e->format->pb) av_freep(&e->format->pb->buffer);
        avio_context_free(&e->format->pb);
    }
    avformat_free_context(e->format);
    avcodec_free_context(&e->codec);
    sws_freeContext(e->scaler);
    av_frame_free(&e->frame);
    av_packet_free(&e->packet);
    for (char **t = e->text; t && *t; t++) free(*t);
    free(e->text);
    free(e);
    *encoder = NULL;
}

static int copy_text(para_video_encoder *e, const char *const *text) {
    size_t n = 0;
    while (text && text[n] && text[n + 1]) n += 2;
    if (!(e->text = calloc(n + 1, sizeof *e->text))) return AVERROR(ENOMEM);
    for (size_t i = 0; i < n; i++)
        if (!(e->text[i] = strdup(text[i]))) return AVERROR(ENOMEM);
    return 0;
}

/* RGB to what the encoder takes: for H.264 BT.709 in limited range, and said so in the stream. */
static int open_scaler(para_video_encoder *e) {
    e->scaler = sws_getContext(e->width, e->height, AV_PIX_FMT_RGB24, e->width, e->height, e->codec->pix_fmt,
                               SWS_BICUBIC | SWS_ACCURATE_RND | SWS_FULL_CHR_H_INP, NULL, NULL, NULL);
    if (!e->scaler) return AVERROR(ENOMEM);
    if (e->kind == PARA_VIDEO_WEBP) return 0;
    const int *bt709 = sws_getCoefficients(SWS_CS_ITU709);
    return sws_setColorspaceDetails(e->scaler, bt709, 1, bt709, 0, 0, 1 << 16, 1 << 16) < 0 ? AVERROR(EINVAL) : 0;
}

static int open_codec(para_video_encoder *e, const para_video_job *job) {
    const AVCodec *codec = avcodec_find_encoder_by_name(job->kind == PARA_VIDEO_MP4 ? "libx264" : "libwebp_anim");
    if (!codec) return PARA_VIDEO_NO_ENCODER;
    AVCodecContext *c = e->codec = avcodec_alloc_context3(codec);
    if (!c) return AVERROR(ENOMEM);
    c->log_level_offset = SILENT;
    c->width = job->width;
    c->height = job->height;
    c->framerate = av_d2q(job->fps, 100000);
    c->time_base = av_inv_q(c->framerate);
    c->flags |= AV_CODEC_FLAG_BITEXACT; /* no version of the encoder in the file */
    if (job->kind == PARA_VIDEO_WEBP) {
        c->pix_fmt = AV_PIX_FMT_RGB32;
        int result = av_opt_set_int(c->priv_data, "quality", WEBP_QUALITY, 0);
        return result < 0 ? result : avcodec_open2(c, codec, NULL);
    }
    c->pix_fmt = AV_PIX_FMT_YUV420P;
    c->colorspace = AVCOL_SPC_BT709;
    c->color_primaries = AVCOL_PRI_BT709;
    c->color_trc = AVCOL_TRC_BT709;
    c->color_range = AVCOL_RANGE_MPEG;
    c->flags |= AV_CODEC_FLAG_GLOBAL_HEADER; /* MP4 keeps it beside the stream */
    int result = av_opt_set_double(c->priv_data, "crf", job->crf, 0);
    return result < 0 ? result : avcodec_open2(c, codec, NULL);
}

static int open_mp4(para_video_encoder *e, const char *const *text) {
    int result = avformat_alloc_output_context2(&e->format, NULL, "mp4", NULL);
    if (result < 0) return result;
    AVFormatContext *f = e->format;
    f->flags |= AVFMT_FLAG_BITEXACT | AVFMT_FLAG_CUSTOM_IO;
    uint8_t *buffer = av_malloc(IO_BYTES);
    f->pb = buffer ? avio_alloc_context(buffer, IO_BYTES, 1, e, NULL, on_write, on_seek) : NULL;
    if (!f->pb) {
        av_free(buffer);
        return AVERROR(ENOMEM);
    }
    AVStream *stream = avformat_new_stream(f, NULL);
    if (!stream) return AVERROR(ENOMEM);
    stream->time_base = e->codec->time_base;
    stream->avg_frame_rate = e->codec->framerate;
    if ((result = avcodec_parameters_from_context(stream->codecpar, e->codec)) < 0) return result;
    for (; text && text[0] && text[1]; text += 2)
        if ((result = av_dict_set(&f->metadata, text[0], text[1], 0)) < 0) return result;
    AVDictionary *options = NULL;
    result = av_dict_set(&options, "movflags", "use_metadata_tags", 0); /* keys of any name */
    if (result >= 0) result = avformat_write_header(f, &options);
    av_dict_free(&options);
    return result < 0 ? result : 0;
}

static int open_all(para_video_encoder *e, const para_video_job *job) {
    int result = open_codec(e, job);
    if (result) return result;
    if ((result = open_scaler(e)) < 0) return result;
    e->frame = av_frame_alloc();
    e->packet = av_packet_alloc();
    if (!e->frame || !e->packet) return AVERROR(ENOMEM);
    e->frame->format = e->codec->pix_fmt;
    e->frame->width = e->width;
    e->frame->height = e->height;
    e->frame->colorspace = e->codec->colorspace;
    e->frame->color_range = e->codec->color_range;
    if ((result = av_frame_get_buffer(e->frame, 0)) < 0) return result;
    return e->kind == PARA_VIDEO_MP4 ? open_mp4(e, job->text) : copy_text(e, job->text);
}

/* FFmpeg's code, or ours. */
static int outcome(const para_video_encoder *e, int result) {
    if (e && e->sink_failed) return PARA_VIDEO_SINK;
    return result == AVERROR(ENOMEM) ? PARA_VIDEO_NO_MEMORY : result;
}

static int open_encoder(const para_video_job *job, const para_video_sink *sink, para_video_encoder **out) {
    para_video_encoder *e = *out = calloc(1, sizeof *e);
    if (!e) return PARA_VIDEO_NO_MEMORY;
    *e = (para_video_encoder){.kind = job->kind, .height = job->height, .width = job->width, .sink = *sink};
    int result = outcome(e, open_all(e, job));
    if (result) close_encoder(out);
    return result;
}

/* ---- Encoding */

/* A whole animation. */
static int put_webp(para_video_encoder *e) {
    para_webp_metadata m;
    const uint8_t *file = e->packet->data;
    size_t n = (size_t)e->packet->size;
    if (para_webp_describe(&m, file, n, e->height, e->width, (const char *const *)e->text) < 0) return AVERROR(ENOMEM);
    bool good = put(e, m.head, m.head_bytes) && put(e, file + m.rest, n - m.rest) && put(e, m.tail, m.tail_bytes);
    free(m.tail);
    return good ? 0 : AVERROR(EIO);
}

static int put_packet(para_video_encoder *e) {
    if (e->kind == PARA_VIDEO_WEBP) return put_webp(e);
    e->packet->stream_index = 0;
    av_packet_rescale_ts(e->packet, e->codec->time_base, e->format->streams[0]->time_base);
    return av_interleaved_write_frame(e->format, e->packet);
}

/* A frame (NULL: there are no more) to the encoder, and what it has ready to the file. */
static int encode(para_video_encoder *e, const AVFrame *frame) {
    int result = avcodec_send_frame(e->codec, frame);
    while (result >= 0) {
        result = avcodec_receive_packet(e->codec, e->packet);
        if (result == AVERROR(EAGAIN) || result == AVERROR_EOF) return 0;
        if (result >= 0) result = put_packet(e);
        av_packet_unref(e->packet);
    }
    return result;
}

static int write_frame(para_video_encoder *e, const uint8_t *rgb) {
    int result = av_frame_make_writable(e->frame); /* the encoder may still hold the last one */
    if (result < 0) return outcome(e, result);
    sws_scale(e->scaler, (const uint8_t *const[]){rgb}, (const int[]){3 * e->width}, 0, e->height, e->frame->data,
              e->frame->linesize);
    e->frame->pts = e->frames++;
    return outcome(e, encode(e, e->frame));
}

static int finish(para_video_encoder *e) {
    int result = encode(e, NULL);
    if (result >= 0 && e->format) {
        result = av_write_trailer(e->format);
        avio_flush(e->format->pb);
        if (result >= 0) result = e->format->pb->error;
    }
    return outcome(e, result < 0 ? result : 0);
}

static void error_text(int result, char text[PARA_VIDEO_TEXT_MAX]) {
    if (av_strerror(result, text, PARA_VIDEO_TEXT_MAX) < 0) snprintf(text, PARA_VIDEO_TEXT_MAX, "error %d", result);
}

__attribute__((visibility("default"))) const para_video_module *para_video_module_table(void);

const para_video_module *para_video_module_table(void) {
    static const para_video_module table = {
        PARA_VIDEO_ABI, sizeof table, open_encoder, write_frame, finish, close_encoder, error_text,
    };
    return &table;
}
