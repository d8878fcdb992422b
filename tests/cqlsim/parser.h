/* CQL text to struct statement. */
#pragma once

#include "ast.h"

/* Parses one statement (a trailing ; allowed) into arena; NULL with SYNTAX_ERROR or INVALID
 * otherwise. */
struct statement *parser_parse(struct arena *arena, const char *text, size_t length,
                               struct failure *failure);
/* One statement of a file that holds several: *length is how much of text it used up with its ";".
 * NULL with failure->code 0 at the end of the text. */
struct statement *parser_parse_next(struct arena *arena, const char *text, size_t *length,
                                    struct failure *failure);
