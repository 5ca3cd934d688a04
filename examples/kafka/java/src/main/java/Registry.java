import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import java.io.IOException;
import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse;
import java.nio.ByteBuffer;
import java.util.Map;
import java.util.concurrent.ConcurrentHashMap;
import org.apache.avro.Schema;
import org.apache.avro.generic.GenericData;
import org.apache.avro.generic.GenericDatumReader;
import org.apache.avro.generic.GenericDatumWriter;
import org.apache.avro.generic.GenericRecord;
import org.apache.avro.io.DecoderFactory;
import org.apache.avro.io.EncoderFactory;

/** Values in the Confluent wire format with Apache Avro alone. Whoever has Confluent's serializers uses those, with the same URL. */
final class Registry {
    private static final int HEAD_BYTES = 5;
    private final String url;
    private final HttpClient http = HttpClient.newHttpClient();
    private final Map<Integer, Schema> known = new ConcurrentHashMap<>();

    /** A schema and its id. */
    record Numbered(int id, Schema schema) {}

    Registry(String url) {
        this.url = url;
    }

    GenericRecord decode(byte[] value) throws IOException {
        ByteBuffer head = ByteBuffer.wrap(value);
        if (value.length < HEAD_BYTES || head.get() != 0) {
            throw new IOException("not in the Confluent wire format");
        }
        Schema schema = known.computeIfAbsent(head.getInt(), id -> new Schema.Parser().parse(get("/schemas/ids/" + id).get("schema").asText()));
        var decoder = DecoderFactory.get().binaryDecoder(value, HEAD_BYTES, value.length - HEAD_BYTES, null);
        return new GenericDatumReader<GenericRecord>(schema, schema, exact()).read(null, decoder);
    }

    byte[] encode(Numbered schema, GenericRecord record) throws IOException {
        var out = new java.io.ByteArrayOutputStream();
        out.write(ByteBuffer.allocate(HEAD_BYTES).put((byte) 0).putInt(schema.id()).array());
        var encoder = EncoderFactory.get().binaryEncoder(out, null);
        new GenericDatumWriter<GenericRecord>(schema.schema(), exact()).write(record, encoder);
        encoder.flush();
        return out.toByteArray();
    }

    Numbered latest(String subject) {
        JsonNode found = get("/subjects/" + subject + "/versions/latest");
        return new Numbered(found.get("id").asInt(), new Schema.Parser().parse(found.get("schema").asText()));
    }

    /** Decimals as BigDecimal, times as Instant. */
    private static GenericData exact() {
        GenericData data = new GenericData();
        data.addLogicalTypeConversion(new org.apache.avro.Conversions.DecimalConversion());
        data.addLogicalTypeConversion(new org.apache.avro.data.TimeConversions.TimestampMicrosConversion());
        return data;
    }

    private JsonNode get(String path) {
        try {
            HttpRequest request = HttpRequest.newBuilder(URI.create(url + path)).build();
            HttpResponse<byte[]> answer = http.send(request, HttpResponse.BodyHandlers.ofByteArray());
            if (answer.statusCode() != 200) {
                throw new IllegalStateException(path + ": " + answer.statusCode() + " " + new String(answer.body()));
            }
            return new ObjectMapper().readTree(answer.body());
        } catch (IOException error) {
            throw new java.io.UncheckedIOException(error);
        } catch (InterruptedException error) {
            Thread.currentThread().interrupt();
            throw new IllegalStateException(error);
        }
    }
}
