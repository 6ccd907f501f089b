"""The classes of Hive's file formats, by the name after STORED AS."""

from __future__ import annotations

from dataclasses import dataclass

OPENX_JSON_SERDE = "org.openx.data.jsonserde.JsonSerDe"


@dataclass(frozen=True)
class StorageFormat:
    """Class names."""

    serde: str
    input_format: str
    output_format: str


TEXT = StorageFormat(
    "org.apache.hadoop.hive.serde2.lazy.LazySimpleSerDe",
    "org.apache.hadoop.mapred.TextInputFormat",
    "org.apache.hadoop.hive.ql.io.HiveIgnoreKeyTextOutputFormat",
)
FORMATS = {
    "TEXTFILE": TEXT,
    "PARQUET": StorageFormat(
        "org.apache.hadoop.hive.ql.io.parquet.serde.ParquetHiveSerDe",
        "org.apache.hadoop.hive.ql.io.parquet.MapredParquetInputFormat",
        "org.apache.hadoop.hive.ql.io.parquet.MapredParquetOutputFormat",
    ),
    "ORC": StorageFormat(
        "org.apache.hadoop.hive.ql.io.orc.OrcSerde",
        "org.apache.hadoop.hive.ql.io.orc.OrcInputFormat",
        "org.apache.hadoop.hive.ql.io.orc.OrcOutputFormat",
    ),
    "AVRO": StorageFormat(
        "org.apache.hadoop.hive.serde2.avro.AvroSerDe",
        "org.apache.hadoop.hive.ql.io.avro.AvroContainerInputFormat",
        "org.apache.hadoop.hive.ql.io.avro.AvroContainerOutputFormat",
    ),
    "JSONFILE": StorageFormat("org.apache.hive.hcatalog.data.JsonSerDe", TEXT.input_format, TEXT.output_format),
    "SEQUENCEFILE": StorageFormat(
        TEXT.serde,
        "org.apache.hadoop.mapred.SequenceFileInputFormat",
        "org.apache.hadoop.hive.ql.io.HiveSequenceFileOutputFormat",
    ),
    "RCFILE": StorageFormat(
        "org.apache.hadoop.hive.serde2.columnar.LazyBinaryColumnarSerDe",
        "org.apache.hadoop.hive.ql.io.RCFileInputFormat",
        "org.apache.hadoop.hive.ql.io.RCFileOutputFormat",
    ),
    "ION": StorageFormat(
        "com.amazon.ionhiveserde.IonHiveSerDe",
        "com.amazon.ionhiveserde.formats.IonInputFormat",
        "com.amazon.ionhiveserde.formats.IonOutputFormat",
    ),
}


def text_format_for(serde: str) -> StorageFormat:
    """What ROW FORMAT SERDE without STORED AS means: text files, as Athena notes them for this serde."""
    if serde == OPENX_JSON_SERDE:
        return StorageFormat(serde, TEXT.input_format, "org.apache.hadoop.hive.ql.io.IgnoreKeyTextOutputFormat")
    return StorageFormat(serde, TEXT.input_format, TEXT.output_format)
