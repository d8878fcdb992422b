/* The rows decoder. Properties: all it hands out lies inside the body, and no result is larger than
 * its bytes can justify. */
#include <stdlib.h>
#include <string.h>

#include "proto/cql_rows.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_inside(struct cql_span span, const uint8_t *body, size_t size)
{
    CHECK(span.data == NULL || (span.data >= body && span.data <= body + size &&
                                span.length <= (size_t)(body + size - span.data)));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    uint8_t *body = malloc(size == 0 ? 1 : size);
    CHECK(body != NULL);
    if (size > 0)
        memcpy(body, data, size);
    struct cql_rows rows;
    if (cql_rows_decode(body, size, &rows)) {
        CHECK(rows.column_count >= 0 && rows.row_count >= 0);
        CHECK((uint64_t)rows.column_count * (uint64_t)rows.row_count * 4 <= size);
        for (int column = 0; column < rows.column_count; column++) {
            check_inside(rows.columns[column].name, body, size);
            check_inside(rows.columns[column].type, body, size);
            for (int row = 0; row < rows.row_count; row++)
                check_inside(cql_rows_cell(&rows, row, column), body, size);
        }
    } else {
        CHECK(rows.columns == NULL && rows.cells == NULL);
    }
    cql_rows_fini(&rows);
    free(body);
    return 0;
}
