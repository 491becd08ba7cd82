/* The names of the errors, as in PACKAGE_FORMAT.md, and what they mean. */
#include "internal.h"

static const struct {
    const char *name, *meaning;
} ERRORS[] = {
    {"OK", "no error"},
    {"NotAPackage", "the file does not start with the magic bytes"},
    {"UnsupportedVersion", "the package is of a version of the format that this reader does not know"},
    {"UnsupportedFlags", "a bit that this version reserves is set"},
    {"LimitExceeded", "a size or a count is beyond a limit of the format"},
    {"PackageTruncated", "the file ends before the header says it does"},
    {"TrailingBytes", "the file goes on after its last section"},
    {"HeaderCorrupt", "the checksum over header and table does not match"},
    {"TableInvalid", "the table ends early, goes on too long or holds an integer that is not in its shortest form"},
    {"SpanInvalid", "a span leaves the model, is empty, or names a source that it may not name"},
    {"SectionDigestMismatch", "the coded bytes of the sections do not have the SHA-256 that the table states"},
    {"ResultDigestMismatch", "everything decoded, and the result still is not the model that was packed"},
    {"MetadataInvalid", "the metadata are not a JSON object in UTF-8"},
    {"SectionTruncated", "a section ends inside one of its own fields"},
    {"SectionTrailingBytes", "a section goes on after its last field"},
    {"LayoutUnknown", "a section is of a layout, or a codec, that this version does not have or does not allow there"},
    {"ParameterInvalid", "a parameter of a section is outside its range, or a reserved bit of it is set"},
    {"SizeMismatch", "a section decodes to another number of bytes than its spans hold"},
    {"CodeInvalid", "the code lengths of a Huffman code are not those of a complete prefix code"},
    {"SymbolInvalid", "a code stands for a gap token or a centroid that does not exist"},
    {"BlockIndexInvalid", "the index of blocks does not add up to the bits or to the weights of the section"},
    {"BlockCorrupt", "a block does not end at the bit, or at the weight, that the index states"},
    {"PaddingInvalid", "unused bits of a last byte are not zero"},
    {"ScaleInvalid", "channel scales do not divide the tensor, or scale or centroid is not finite"},
    {"StreamCorrupt", "the deflate or LZMA stream of a section is broken or of another length than stated"},
    {"CodecUnavailable", "the reader was built without the codec that the package needs"},
};

enum { COUNT = sizeof ERRORS / sizeof *ERRORS };

const char *armlet_error_name(int status) {
    if (status == ARMLET_OUTPUT_TOO_SMALL) return "OutputTooSmall";
    if (status == ARMLET_SCRATCH_TOO_SMALL) return "ScratchTooSmall";
    return status >= 0 && status < COUNT ? ERRORS[status].name : "UnknownError";
}

const char *armlet_strerror(int status) {
    if (status == ARMLET_OUTPUT_TOO_SMALL) return "the buffer for the model is smaller than armlet_unpacked_size says";
    if (status == ARMLET_SCRATCH_TOO_SMALL) return "the working memory is smaller than armlet_unpacked_size says";
    return status >= 0 && status < COUNT ? ERRORS[status].meaning : "no error of this library";
}
